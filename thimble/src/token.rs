//! `thimble token`: who may call this server from elsewhere. The commands change a file that the server reads.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use access::{Grant, Lifetime, Role, Token, Tokens};
use anyhow::{anyhow, ensure};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use model::{ObjectName, is_name};
use serde_json::json;

use crate::client::{self, Format};
use crate::data_folder::{self, DataFolder};
use crate::up;

/// Tokens of people. Those of other hosts last until they are deleted: no person looks at them for years.
const DAYS: i64 = 365;

#[derive(Subcommand, Debug)]
pub enum TokenCommand {
    /// Make a token and print it; it cannot be shown again
    Create {
        #[command(flatten)]
        caller: CallerArgs,
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
        #[command(flatten)]
        data: DataFolder,
    },
    /// Print the URL that shows one machine its metadata at any address, for machines behind NAT or without reservation
    Metadata {
        /// NAME or NAMESPACE/NAME of its Hardware
        machine: ObjectName,
        #[command(flatten)]
        data: DataFolder,
    },
    /// List the tokens, without their secrets
    List {
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
        #[command(flatten)]
        data: DataFolder,
    },
    /// Delete a token; the server refuses it from the next request on
    Delete {
        /// Its id or its name
        token: String,
        #[command(flatten)]
        data: DataFolder,
    },
}

/// Whom a token or a certificate is for.
#[derive(Args, Debug)]
pub struct CallerArgs {
    /// admin, operator, viewer, boots or server
    #[arg(long)]
    pub role: Role,
    /// Only in this namespace, for operator and viewer; may be given several times
    #[arg(long = "namespace", value_name = "NAMESPACE")]
    pub namespaces: Vec<String>,
    /// The user in messages and in the audit log; the default is the role
    #[arg(long)]
    pub name: Option<String>,
    /// How long it is valid: 90d, 12h or never. The default is 365d, and never for the roles of hosts
    #[arg(long, value_name = "TIME")]
    pub expires: Option<Lifetime>,
}

impl CallerArgs {
    pub fn grant(&self) -> Grant {
        let namespaces: BTreeSet<String> = self.namespaces.iter().cloned().collect();
        Grant { role: self.role, namespaces: Some(namespaces).filter(|namespaces| !namespaces.is_empty()) }
    }

    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.role.word())
    }

    pub fn lifetime(&self) -> Lifetime {
        let default = match self.role {
            Role::Boots | Role::Server => Lifetime(None),
            Role::Admin | Role::Operator | Role::Viewer => Lifetime::days(DAYS),
        };
        self.expires.unwrap_or(default)
    }
}

pub fn run(command: TokenCommand, out: &mut dyn Write) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create { caller, output, data } => {
            let folder = data.access()?;
            let (text, token) =
                Tokens::below(&folder).create(caller.name(), caller.grant(), caller.lifetime(), Timestamp::now())?;
            if output != Format::Text {
                let mut shown = described(&token);
                if let Some(fields) = shown.as_object_mut() {
                    fields.insert("token".to_owned(), json!(text));
                }
                return client::print_value(&shown, output == Format::Yaml, out);
            }
            let until = token.expires.map_or_else(|| "until it is deleted".to_owned(), |at| format!("until {at:.0}"));
            eprintln!("token {} of {}: {}, {until}. It cannot be shown again:", token.id, token.name, token.grant);
            match caller.role {
                Role::Boots => writeln!(out, "{}", line_for_boots(&folder, &text)?)?,
                _ => writeln!(out, "{text}")?,
            }
        }
        TokenCommand::Metadata { machine, data } => {
            ensure!(is_name(&machine.namespace) && is_name(&machine.name), "{machine} is not the name of a Hardware");
            let secret = up::metadata::key(&data.path()?)?.secret(&machine);
            let (namespace, name) = (&machine.namespace, &machine.name);
            writeln!(out, "{}/instance/{namespace}/{name}/{secret}/", data.http()?)?;
        }
        TokenCommand::List { output, data } => {
            let tokens = Tokens::below(&data.access()?).list()?;
            if output != Format::Text {
                let shown = serde_json::Value::Array(tokens.iter().map(described).collect());
                return client::print_value(&shown, output == Format::Yaml, out);
            }
            let row = |token: &Token| {
                let expires = token.expires.map_or_else(|| "never".to_owned(), client::local);
                [token.id.clone(), token.name.clone(), token.grant.to_string(), client::local(token.created), expires]
            };
            let rows: Vec<_> = tokens.iter().map(row).collect();
            client::print_table(out, ["ID", "NAME", "ROLE", "CREATED", "EXPIRES"], &rows)?;
        }
        TokenCommand::Delete { token, data } => {
            let token = Tokens::below(&data.access()?).delete(&token)?;
            writeln!(out, "token {} of {} deleted", token.id, token.name)?;
        }
    }
    Ok(())
}

/// A token without its secret.
fn described(token: &Token) -> serde_json::Value {
    let (role, namespaces) = (token.grant.role.word(), &token.grant.namespaces);
    json!({
        "id": token.id, "name": token.name, "role": role, "namespaces": namespaces, "created": token.created,
        "expires": token.expires,
    })
}

/// All that a second host needs: where the server is, who the host is, and by what it knows the server.
fn line_for_boots(folder: &Path, token: &str) -> anyhow::Result<String> {
    let url = data_folder::url(folder)?;
    let certificates = trust::certificates(&folder.join(access::CERTIFICATE))?;
    let certificate = certificates.first().ok_or_else(|| anyhow!("the certificate authority is empty"))?;
    let pin = trust::Fingerprint::of(certificate);
    Ok(format!("THIMBLE_TOKEN={token} thimble boots --server {url} --ca-sha256 {pin} --address IP-OF-THAT-HOST"))
}
