//! The image's `User`: numbers are used as they are, and names are looked up in the image's passwd and group files.

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: String,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the image runs as {0:?}, which is not in the /etc/passwd and /etc/group of the image")]
pub struct BadUser(String);

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// Resolves `""`, `uid`, `uid:gid`, `name`, `name:group` and mixtures.
pub fn resolve(user: &str, passwd: &str, group: &str) -> Result<Account, BadUser> {
    let unknown = || BadUser(user.to_owned());
    let (name, group_name) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|g| !g.is_empty())),
        None => (user, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let number = name.parse::<u32>().ok();
    let entry = entries(passwd).find(|e| e.name == name || Some(e.uid) == number);
    let uid = number.or(entry.as_ref().map(|e| e.uid)).ok_or_else(unknown)?;
    let gid = match group_name {
        Some(group_name) => gid(group_name, group).ok_or_else(unknown)?,
        None => entry.as_ref().map_or(0, |e| e.gid),
    };
    let groups = match (&entry, group_name) {
        (Some(entry), None) => memberships(entry.name, group),
        _ => Vec::new(),
    };
    let home = entry.map(|e| e.home).filter(|h| h.starts_with('/')).unwrap_or(if uid == 0 { "/root" } else { "/" });
    Ok(Account { uid, gid, groups, home: home.to_owned() })
}

fn entries(passwd: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(PasswdEntry { name, uid, gid, home: fields.nth(1).unwrap_or("") })
    })
}

fn gid(name: &str, group: &str) -> Option<u32> {
    let by_name = || group.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split(':').nth(1)?.parse().ok());
    name.parse().ok().or_else(by_name)
}

fn memberships(name: &str, group: &str) -> Vec<u32> {
    let member = |line: &str| {
        let mut fields = line.split(':').skip(2);
        let gid = fields.next()?.parse().ok()?;
        fields.next()?.split(',').any(|m| m == name).then_some(gid)
    };
    group.lines().filter_map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbuild:x:1000:100:B:/home/build:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:\nusers:x:100:\ndisk:x:6:root,build\n";

    #[test]
    fn users_are_numbers_or_names_in_the_image() {
        for (user, uid, gid, groups, home) in [
            ("", 0, 0, vec![6], "/root"),
            ("0", 0, 0, vec![6], "/root"),
            ("build", 1000, 100, vec![6], "/home/build"),
            ("build:disk", 1000, 6, vec![], "/home/build"),
            ("1000:7", 1000, 7, vec![], "/home/build"),
            ("4242", 4242, 0, vec![], "/"),
        ] {
            assert_eq!(resolve(user, PASSWD, GROUP), Ok(Account { uid, gid, groups, home: home.into() }), "{user:?}");
        }
    }

    #[test]
    fn an_unknown_name_is_refused_and_quoted() {
        assert_eq!(resolve("nobody", PASSWD, GROUP), Err(BadUser("nobody".into())));
        assert_eq!(resolve("build:nogroup", PASSWD, GROUP), Err(BadUser("build:nogroup".into())));
        assert_eq!(resolve("", "", "").unwrap().home, "/root", "an image from scratch has no passwd");
    }
}
