//! Sends the output of actions to a server that offers to take it (`proto::logs`), beside everything else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use machine::backoff;
use proto::logs::AppendRequest;
use proto::logs::logs_client::LogsClient;
use tokio::time::sleep;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::decide;
use crate::outbox::Outbox;

/// Between two messages, so that a flood takes little of the network: at most half a MiB a second.
const PAUSE: Duration = Duration::from_millis(50);
const DEADLINE: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_secs(2);

/// Never ends.
pub async fn send(outbox: Arc<Outbox>, agent: String) {
    loop {
        let message = outbox.next(&agent).await;
        deliver(&outbox, message).await;
        outbox.sent();
        outbox.pause(PAUSE).await;
    }
}

/// Tries until the server has the message, or does not want it. A channel connects again by itself.
async fn deliver(outbox: &Outbox, mut message: AppendRequest) {
    let mut tried = Instant::now();
    while let Some(channel) = outbox.way() {
        let Err(status) = call(channel, message.clone()).await else { return };
        if status.code() == Code::Unimplemented {
            outbox.open(None);
        }
        if !decide::is_transport(&status) {
            return;
        }
        sleep(backoff::jitter(AGAIN, backoff::random())).await;
        let waited = u32::try_from(tried.elapsed().as_millis()).unwrap_or(u32::MAX);
        tried = Instant::now();
        message.lines.iter_mut().for_each(|line| line.age_milliseconds = line.age_milliseconds.saturating_add(waited));
    }
}

async fn call(channel: Channel, message: AppendRequest) -> Result<(), Status> {
    match tokio::time::timeout(DEADLINE, LogsClient::new(channel).append(message)).await {
        Ok(answer) => answer.map(drop),
        Err(_) => Err(Status::deadline_exceeded("no answer")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proto::ActionRequest;

    use super::*;
    use crate::action::Action;
    use crate::fake_server::{Script, Server, action as wire};
    use crate::settings::Settings;
    use crate::transport::Connection;

    /// An agent that has asked for the action, and sends what is in its outbox.
    async fn agent(server: &Server, script: Script) -> (Connection, Arc<Outbox>, Action) {
        *server.shared.script.lock().unwrap() = script;
        server.push(wire("1", "i"));
        let authority = server.address.to_string();
        let env: HashMap<&str, &str> = [("WORKER_ID", "m"), ("TINKERBELL_GRPC_AUTHORITY", authority.as_str())].into();
        let settings = Settings::read(&[], |name| env.get(name).map(|v| (*v).to_owned())).unwrap();
        let outbox = Arc::new(Outbox::default());
        let mut connection = Connection::new(&settings).unwrap().with_output(&outbox);
        tokio::spawn(connection.output("m"));
        let answer = connection.get_action(ActionRequest::default()).await.unwrap();
        (connection, outbox, Action::from_wire(answer.response).unwrap())
    }

    fn texts(script: &Script) -> Vec<String> {
        script.output.iter().flat_map(|message| &message.lines).map(|line| line.text.clone()).collect()
    }

    #[tokio::test]
    async fn a_server_that_offers_it_gets_every_line_and_the_agent_says_that_it_sends_them() {
        let server = Server::start().await;
        let (mut connection, outbox, action) = agent(&server, Script { offers_logs: true, ..Script::default() }).await;
        let lines = outbox.of(&action);
        (0..300).for_each(|n| lines("stdout", &n.to_string()));
        lines("stderr", "at last");
        outbox.empty(Duration::from_secs(20)).await;
        let script = server.shared.script.lock().unwrap().output.clone();
        let sent: Vec<_> =
            script.iter().flat_map(|message| &message.lines).map(|line| (line.text.as_str(), line.stderr)).collect();
        assert_eq!((sent.len(), sent[0], sent[300]), (301, ("0", false), ("at last", true)));
        let first = &script[0];
        assert_eq!(
            (first.agent_id.as_str(), first.workflow_id.as_str(), first.action_id.as_str()),
            ("m", "default/install", "1")
        );
        connection.report(crate::report::running("m", &action, std::time::SystemTime::now(), 1)).await.unwrap();
        assert_eq!(server.shared.script.lock().unwrap().senders, 1);
    }

    #[tokio::test]
    async fn another_server_sees_no_difference() {
        let server = Server::start().await;
        let (mut connection, outbox, action) = agent(&server, Script::default()).await;
        outbox.of(&action)("stdout", "x");
        connection.report(crate::report::running("m", &action, std::time::SystemTime::now(), 1)).await.unwrap();
        outbox.empty(Duration::from_secs(20)).await;
        let script = server.shared.script.lock().unwrap();
        assert_eq!((texts(&script), script.senders), (vec![], 0));
    }

    #[tokio::test]
    async fn refused_lines_are_given_up_and_an_unknown_call_is_not_made_again() {
        let server = Server::start().await;
        let log_answers = [Status::permission_denied("x"), Status::unimplemented("x")].into();
        let (_connection, outbox, action) = agent(&server, Script { offers_logs: true, log_answers, ..Script::default() }).await;
        let lines = outbox.of(&action);
        for (text, open) in [("refused", true), ("unknown", false), ("not sent", false)] {
            lines("stdout", text);
            outbox.empty(Duration::from_secs(20)).await;
            assert_eq!(outbox.way().is_some(), open, "{text}");
        }
        assert_eq!(texts(&server.shared.script.lock().unwrap()), ["refused", "unknown"]);
    }
}
