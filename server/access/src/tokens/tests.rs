use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::caller::Role;

struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn tokens(&self) -> Tokens {
        Tokens::below(self.0.path())
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn hours(number: i64) -> Lifetime {
    Lifetime(Some(SignedDuration::from_hours(number)))
}

const NEVER: Lifetime = Lifetime(None);

#[test]
fn a_token_names_its_caller_until_it_expires_or_is_deleted() {
    let bench = Bench::new();
    let tokens = bench.tokens();
    let viewer = Grant { role: Role::Viewer, namespaces: Some(BTreeSet::from(["lab".to_owned()])) };
    let (text, made) = tokens.create("alice", viewer, hours(1), at(0)).unwrap();
    let caller = tokens.lookup(&text, at(3599)).unwrap().caller(Origin::Socket { uid: 7 });
    assert_eq!((caller.name.as_str(), caller.roles().as_str()), ("alice", "viewer in lab"));
    assert_eq!(caller.proof, Proof::Token(made.id.clone()));
    let expired = tokens.lookup(&text, at(3600)).unwrap_err();
    assert_eq!(expired, BadToken::Expired { id: made.id.clone(), name: "alice".to_owned(), at: at(3600) });
    let other_process = bench.tokens();
    assert_eq!(other_process.delete("alice").unwrap().id, made.id);
    assert_eq!(tokens.lookup(&text, at(1)), Err(BadToken::Unknown { id: made.id }), "deleted by another process");
}

#[test]
fn a_token_that_was_changed_is_not_accepted() {
    let bench = Bench::new();
    let tokens = bench.tokens();
    let (text, made) = tokens.create("a", Grant::everywhere(Role::Admin), NEVER, at(0)).unwrap();
    let (other, _) = tokens.create("b", Grant::everywhere(Role::Viewer), NEVER, at(0)).unwrap();
    let secret = |text: &str| text.rsplit_once('_').map(|_| text.splitn(3, '_').nth(2).unwrap().to_owned()).unwrap();
    let crossed = format!("thimble_{}_{}", made.id, secret(&other));
    assert_eq!(tokens.lookup(&crossed, at(1)), Err(BadToken::Wrong { id: made.id.clone() }), "the secret of another token");
    let mut last = text.clone();
    let end = last.pop().unwrap();
    last.push(if end == 'A' { 'E' } else { 'A' });
    assert!(tokens.lookup(&last, at(1)).is_err(), "{last}");
    for nonsense in [
        "",
        "thimble_",
        "thimble_x_y",
        &text[..text.len() - 1],
        &text.to_uppercase(),
        &format!("{text} "),
        &"x".repeat(100_000),
        "Bearer",
    ] {
        assert_eq!(tokens.lookup(nonsense, at(1)), Err(BadToken::Malformed), "{:.80}", nonsense);
    }
}

#[test]
fn the_file_has_no_token_in_it_and_is_for_its_owner_only() {
    let bench = Bench::new();
    let (text, _) = bench.tokens().create("a", Grant::everywhere(Role::Admin), NEVER, at(0)).unwrap();
    let path = bench.0.path().join(FILE);
    let content = fs::read_to_string(&path).unwrap();
    // The secret may have underscores of its own.
    let secret = text.splitn(3, '_').nth(2).unwrap();
    assert!(secret.len() > 20 && !content.contains(secret), "{content}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_cannot_be_read_lets_nobody_in() {
    let bench = Bench::new();
    let tokens = bench.tokens();
    let (text, _) = tokens.create("a", Grant::everywhere(Role::Admin), NEVER, at(0)).unwrap();
    assert!(tokens.lookup(&text, at(1)).is_ok());
    fs::write(bench.0.path().join(FILE), "{").unwrap();
    assert_eq!(tokens.lookup(&text, at(1)), Err(BadToken::Unreadable));
    assert!(matches!(tokens.create("b", Grant::everywhere(Role::Admin), NEVER, at(0)), Err(TokenError::Content { .. })));
    fs::remove_file(bench.0.path().join(FILE)).unwrap();
    assert!(matches!(tokens.lookup(&text, at(1)), Err(BadToken::Unknown { .. })));
}

#[test]
fn what_a_token_is_for_is_checked() {
    let bench = Bench::new();
    let tokens = bench.tokens();
    let lab = |role, name: &str| Grant { role, namespaces: Some(BTreeSet::from([name.to_owned()])) };
    for (name, grant, mistake) in [
        ("", Grant::everywhere(Role::Admin), "\"\" cannot be the name of a token"),
        ("a b", Grant::everywhere(Role::Admin), "\"a b\" cannot be the name of a token"),
        ("a\u{1b}[2J", Grant::everywhere(Role::Admin), "cannot be the name of a token"),
        ("a", lab(Role::Admin, "lab"), "the role admin is for the whole server"),
        ("a", lab(Role::Boots, "lab"), "the role boots is for the whole server"),
        ("a", lab(Role::Viewer, "Lab"), "\"Lab\" is not the name of a namespace"),
        ("a", lab(Role::Viewer, ""), "\"\" is not the name of a namespace"),
    ] {
        let error = tokens.create(name, grant, NEVER, at(0)).unwrap_err().to_string();
        assert!(error.contains(mistake), "{name:?}: {error}");
    }
    tokens.create("twice", lab(Role::Viewer, "lab"), NEVER, at(0)).unwrap();
    let (_, second) = tokens.create("twice", lab(Role::Viewer, "lab"), NEVER, at(0)).unwrap();
    assert!(matches!(tokens.delete("twice"), Err(TokenError::Ambiguous(_))));
    assert!(matches!(tokens.delete("nobody"), Err(TokenError::NoSuch(_))));
    tokens.delete(&second.id).unwrap();
    assert_eq!(tokens.list().unwrap().len(), 1);
}

#[test]
fn a_lifetime_is_days_hours_or_never() {
    for (text, expected) in [
        ("90d", Ok(hours(90 * 24))),
        ("12h", Ok(hours(12))),
        ("never", Ok(NEVER)),
        ("", Err(())),
        ("d", Err(())),
        ("0d", Err(())),
        ("-1d", Err(())),
        ("90", Err(())),
        ("90 d", Err(())),
        ("99999999999d", Err(())),
        ("9\u{e9}", Err(())),
    ] {
        assert_eq!(text.parse::<Lifetime>().map_err(drop), expected, "{text:?}");
    }
}
