//! `thimble kubeconfig`: everything that kubectl needs, in one file.

use std::fmt::Write as _;
use std::io::Write;

use access::{Authority, CERTIFICATE, Lifetime, Tokens};
use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use jiff::Timestamp;

use crate::data_folder::{self, DataFolder};
use crate::token::CallerArgs;

/// A certificate cannot be deleted like a token.
const CERTIFICATE_DAYS: i64 = 30;

#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    caller: CallerArgs,
    /// Where kubectl reaches the server; the default is https://ADDRESS:6443 of its settings
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// With a client certificate in place of a token, for 30 days unless --expires says otherwise
    #[arg(long)]
    certificate: bool,
    #[command(flatten)]
    data: DataFolder,
}

pub fn run(arguments: &Arguments, out: &mut dyn Write) -> anyhow::Result<()> {
    let folder = arguments.data.access()?;
    let server = match &arguments.server {
        Some(url) if !url.starts_with("https://") => bail!("--server {url} is not an https:// URL"),
        Some(url) => url.clone(),
        None => data_folder::url(&folder)?,
    };
    let ca =
        std::fs::read(folder.join(CERTIFICATE)).with_context(|| format!("cannot read {CERTIFICATE} in {}", folder.display()))?;
    let (caller, now) = (&arguments.caller, Timestamp::now());
    let user = if arguments.certificate {
        let Lifetime(Some(lifetime)) = caller.expires.unwrap_or(Lifetime::days(CERTIFICATE_DAYS)) else {
            bail!("a client certificate cannot be deleted, so it has to expire");
        };
        access::check_caller(caller.name(), &caller.grant())?;
        let identity = Authority::open(&folder, now)?.client(caller.name(), &caller.grant(), lifetime, now)?;
        vec![
            ("client-certificate-data", STANDARD.encode(identity.certificate)),
            ("client-key-data", STANDARD.encode(identity.key)),
        ]
    } else {
        let (text, token) = Tokens::below(&folder).create(caller.name(), caller.grant(), caller.lifetime(), now)?;
        eprintln!("`thimble token delete {}` ends what this file permits", token.id);
        vec![("token", text)]
    };
    let namespace = caller.namespaces.first().map_or("default", String::as_str);
    write!(out, "{}", text(&server, &STANDARD.encode(ca), caller.name(), namespace, &user))?;
    Ok(())
}

fn text(server: &str, ca: &str, name: &str, namespace: &str, user: &[(&str, String)]) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: thimble\n  cluster:\n    server: {server:?}\n    \
         certificate-authority-data: {ca}\nusers:\n- name: {name:?}\n  user:\n"
    );
    for (key, value) in user {
        let _ = writeln!(text, "    {key}: {value}"); // a String takes everything
    }
    let _ = write!(
        text,
        "contexts:\n- name: thimble\n  context:\n    cluster: thimble\n    user: {name:?}\n    namespace: {namespace:?}\n\
         current-context: thimble\n"
    );
    text
}
