//! Which device a name stands for, when several claim it.

use std::collections::BTreeMap;

/// Names below `/dev/disk`, and the devices that claim them. The first device has the name.
#[derive(Debug, Default)]
pub struct Claims {
    by_link: BTreeMap<String, Vec<String>>,
}

/// What to do in `/dev/disk`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Point { link: String, device: String },
    Remove { link: String },
}

impl Claims {
    /// The device now claims these names and no others. The device that claimed a name first keeps it.
    pub fn update(&mut self, device: &str, links: &[String]) -> Vec<Change> {
        let mut changes = Vec::new();
        let gone =
            |link: &str, claimants: &[String]| !links.iter().any(|new| new == link) && claimants.iter().any(|one| one == device);
        let lost: Vec<String> =
            self.by_link.iter().filter(|(link, claimants)| gone(link, claimants)).map(|(link, _)| link.clone()).collect();
        for link in lost {
            let Some(claimants) = self.by_link.get_mut(&link) else { continue };
            let had = claimants.first().is_some_and(|first| first == device);
            claimants.retain(|one| one != device);
            match claimants.first() {
                Some(next) if had => changes.push(Change::Point { link, device: next.clone() }),
                Some(_) => {}
                None => {
                    self.by_link.remove(&link);
                    changes.push(Change::Remove { link });
                }
            }
        }
        for link in links {
            let claimants = self.by_link.entry(link.clone()).or_default();
            if !claimants.iter().any(|one| one == device) {
                claimants.push(device.to_owned());
                if claimants.len() == 1 {
                    changes.push(Change::Point { link: link.clone(), device: device.to_owned() });
                }
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_to_the_first_and_then_to_the_next() {
        let mut claims = Claims::default();
        let mut update = |device: &str, links: &[&str]| {
            let links: Vec<String> = links.iter().map(|link| (*link).to_owned()).collect();
            claims.update(device, &links)
        };
        let point = |link: &str, device: &str| Change::Point { link: link.to_owned(), device: device.to_owned() };
        let remove = |link: &str| Change::Remove { link: link.to_owned() };
        assert_eq!(update("sda", &["by-uuid/1", "by-id/a"]), [point("by-uuid/1", "sda"), point("by-id/a", "sda")]);
        assert_eq!(update("sdb", &["by-uuid/1"]), [], "a copy of the disk does not take the name away");
        assert_eq!(update("sda", &["by-uuid/1", "by-id/a"]), [], "nothing new");
        assert_eq!(update("sda", &["by-uuid/2", "by-id/a"]), [point("by-uuid/1", "sdb"), point("by-uuid/2", "sda")]);
        assert_eq!(update("sda", &[]), [remove("by-id/a"), remove("by-uuid/2")]);
        assert_eq!(update("sdb", &[]), [remove("by-uuid/1")]);
    }
}
