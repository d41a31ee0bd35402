//! Forwards boots' events about machines to the server's event stream.

use api::What;
use boots::{Event, Milestone};
use server::Server;
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// Ends when boots ends.
pub async fn run(mut events: Receiver<Event>, server: Server) {
    loop {
        match events.recv().await {
            Ok(event) => {
                if let (Some(mac), Milestone::ScriptSent { boot: "install", .. }) = (event.mac, &event.milestone) {
                    server.installs_at(mac, event.at).await;
                }
                if let Some(what) = what(event) {
                    server.publish(what);
                }
            }
            Err(RecvError::Lagged(count)) => server.publish(What::Missed { count: Some(count) }),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Converts the event to a server event. `None` for a machine without a known MAC.
fn what(event: Event) -> Option<What> {
    if let Milestone::Syslog { tag, text, .. } = event.milestone {
        let who = event.mac.map(|mac| mac.to_string()).or_else(|| event.address.map(|address| address.to_string()));
        let source = format!("{} {tag}", who.unwrap_or_default());
        return Some(What::Log { source: source.trim().to_owned(), text });
    }
    let mac = event.mac?;
    let milestone = event.milestone.word().to_owned();
    Some(What::Machine { mac, milestone, detail: detail(event.milestone) })
}

fn detail(milestone: Milestone) -> String {
    match milestone {
        Milestone::Unknown => String::new(),
        Milestone::Silent { reason } => reason,
        Milestone::OtherServer { server, detail } => format!("{server}: {detail}"),
        Milestone::Discover { client } => client,
        Milestone::Offered { address, boot_file } | Milestone::Acknowledged { address, boot_file } => {
            format!("{address} {boot_file}").trim().to_owned()
        }
        Milestone::NbpSent { file, bytes } => format!("{file} {bytes} bytes"),
        Milestone::ScriptSent { boot, reason } => format!("{boot}: {reason}"),
        Milestone::Download { path, sent, total } | Milestone::Interrupted { path, sent, total } => {
            format!("{path} {sent}/{total} bytes")
        }
        Milestone::Downloaded { path, bytes } => format!("{path} {bytes} bytes"),
        Milestone::Syslog { tag, text, .. } => format!("{tag} {text}"),
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use model::Mac;

    fn event(mac: Option<Mac>, milestone: Milestone) -> Event {
        Event { at: jiff::Timestamp::UNIX_EPOCH, mac, address: Some([10, 0, 0, 7].into()), milestone }
    }

    #[test]
    fn a_download_is_a_machine_event_with_its_progress() {
        let mac = Mac::new([2, 0, 0, 0, 0, 1]);
        let milestone = Milestone::Download { path: "vmlinuz".to_owned(), sent: 5, total: 9 };
        let expected = What::Machine { mac, milestone: "download".to_owned(), detail: "vmlinuz 5/9 bytes".to_owned() };
        assert_eq!(what(event(Some(mac), milestone)), Some(expected));
    }

    #[test]
    fn a_log_line_of_an_unknown_machine_has_its_address() {
        let milestone = Milestone::Syslog { severity: 6, tag: "thimble".to_owned(), text: "hello".to_owned() };
        let expected = What::Log { source: "10.0.0.7 thimble".to_owned(), text: "hello".to_owned() };
        assert_eq!(what(event(None, milestone)), Some(expected));
    }

    #[test]
    fn an_unknown_machine_makes_no_event() {
        assert_eq!(what(event(None, Milestone::Unknown)), None);
    }
}
