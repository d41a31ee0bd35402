//! What is at the other end of a cable, in the form of [`crate::files::LLDP`].

const UNKNOWN: &str = "-";

/// A switch port as LLDP describes it. A line is `LINK PORT CHASSIS SYSTEM VLAN` with tabs between; `-` stands for what
/// the switch did not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Neighbour {
    /// Of this machine.
    pub link: String,
    pub port: Option<String>,
    pub chassis: Option<String>,
    pub system: Option<String>,
    /// The VLAN of untagged frames.
    pub vlan: Option<u16>,
}

impl Neighbour {
    pub fn render(&self) -> String {
        let text = |field: &Option<String>| field.clone().unwrap_or_else(|| UNKNOWN.to_owned());
        let vlan = self.vlan.map_or_else(|| UNKNOWN.to_owned(), |vlan| vlan.to_string());
        format!("{}\t{}\t{}\t{}\t{vlan}\n", self.link, text(&self.port), text(&self.chassis), text(&self.system))
    }

    /// Lines without a link are left out.
    pub fn parse(text: &str) -> impl Iterator<Item = Self> {
        text.lines().filter_map(|line| {
            let mut fields = line.split('\t');
            let link = fields.next().filter(|link| !link.is_empty())?.to_owned();
            let mut next = || fields.next().filter(|field| *field != UNKNOWN).map(str::to_owned);
            Some(Self { link, port: next(), chassis: next(), system: next(), vlan: next().and_then(|vlan| vlan.parse().ok()) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let text = |text: &str| Some(text.to_owned());
        let switch = Neighbour {
            link: "eth0".to_owned(),
            port: text("gi1/0/7"),
            chassis: text("00:11:22:33:44:55"),
            system: None,
            vlan: Some(100),
        };
        assert_eq!(switch.render(), "eth0\tgi1/0/7\t00:11:22:33:44:55\t-\t100\n");
        let silent = Neighbour { link: "eth1".to_owned(), ..Neighbour::default() };
        let file = switch.render() + "\n" + &silent.render();
        assert_eq!(Neighbour::parse(&file).collect::<Vec<_>>(), [switch, silent]);
    }
}
