//! The agent's calls from one machine: one connection, which is made again after a failure, as `agent/src/transport` does it.

use std::io;
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hyper_util::rt::TokioIo;
use proto::action_status_request::StateType;
use proto::logs::logs_client::LogsClient;
use proto::logs::{AppendRequest, Line};
use proto::workflow_service_client::WorkflowServiceClient;
use proto::{
    ActionMessage, ActionRequest, ActionStatusRequest, AgentAttributes, Baseboard, Bios, Block, Chassis, Cpu, Memory, Network,
    Pci, Platform, Processor, Product, Timestamp,
};
use socket2::{SockRef, Socket, TcpKeepalive};
use storm::simulated::{Asked, Job, Progress, Reported};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::http::{self, Link};

const CONNECTS_WITHIN: Duration = Duration::from_secs(5);
/// What an agent says of how long it waits for an action.
const WAITS: Duration = Duration::from_secs(240);
const ANSWERS_WITHIN: Duration = Duration::from_secs(90);
/// Of the kernel's probes.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// The sockets of a machine's connections, so that their cable can be cut.
pub type Cables = Arc<Mutex<Vec<Socket>>>;

pub struct Agent {
    mac: String,
    channel: Channel,
    offers_logs: bool,
    offers_watch: bool,
}

/// The call that is held while an action runs. It ends when this is dropped.
pub struct Watch(AbortHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn is_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some() || status.code() == Code::DeadlineExceeded
}

impl Agent {
    pub async fn connect(link: Link, server: SocketAddrV4, mac: String, cables: Cables) -> io::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{server}")).map_err(io::Error::other)?;
        let connector = tower::service_fn(move |_| {
            let cables = Arc::clone(&cables);
            async move {
                let stream = http::connect(link, server).await?;
                let socket = SockRef::from(&stream);
                let probes = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(Duration::from_secs(3)).with_retries(3);
                socket.set_tcp_keepalive(&probes)?;
                if link.is_cut {
                    cables.lock().unwrap_or_else(PoisonError::into_inner).push(socket.try_clone()?);
                }
                Ok::<_, io::Error>(TokioIo::new(stream))
            }
        });
        let connecting = timeout(CONNECTS_WITHIN, endpoint.connect_with_connector(connector));
        let channel = connecting.await.map_err(|_| io::ErrorKind::TimedOut)?.map_err(io::Error::other)?;
        Ok(Self { mac, channel, offers_logs: false, offers_watch: false })
    }

    /// Returns the answer, and whether the connection is of further use.
    pub async fn ask(&mut self) -> (Asked, bool) {
        let attributes = Some(attributes(&self.mac));
        let mut request = Request::new(ActionRequest { agent_id: Some(self.mac.clone()), agent_attributes: attributes });
        request.set_timeout(WAITS);
        match WorkflowServiceClient::new(self.channel.clone()).get_action(request).await {
            Ok(answer) => {
                self.offers_logs = answer.metadata().contains_key(proto::logs::OFFER);
                let answer = answer.into_inner();
                let job = Job {
                    workflow: answer.workflow_id.unwrap_or_default(),
                    task: answer.task_id.unwrap_or_default(),
                    action: answer.action_id.unwrap_or_default(),
                    name: answer.name.unwrap_or_default(),
                    image: answer.image.unwrap_or_default(),
                };
                (if job.action.is_empty() { Asked::Nothing } else { Asked::Work(Box::new(job)) }, true)
            }
            Err(status) if matches!(status.code(), Code::NotFound | Code::FailedPrecondition) => (Asked::Nothing, true),
            Err(status) if is_transport(&status) => (Asked::Unreachable, false),
            Err(_) => (Asked::Trouble, true),
        }
    }

    pub async fn report(&mut self, job: &Job, progress: Progress) -> (Reported, bool) {
        let now = Some(Timestamp::from(SystemTime::now()));
        let (state, message) = match progress {
            Progress::Running => (StateType::Running, "running action"),
            Progress::Success => (StateType::Success, "completed: exit code 0"),
        };
        let mut request = Request::new(ActionStatusRequest {
            workflow_id: Some(job.workflow.clone()),
            agent_id: Some(self.mac.clone()),
            task_id: Some(job.task.clone()),
            action_id: Some(job.action.clone()),
            action_name: Some(job.name.clone()),
            action_state: Some(state.into()),
            execution_start: now,
            execution_stop: now,
            execution_duration: Some("1s".to_owned()),
            message: Some(ActionMessage { message: Some(message.to_owned()) }),
        });
        if self.offers_logs {
            request.metadata_mut().insert(proto::logs::OFFER, MetadataValue::from_static("yes"));
        }
        let call = async { WorkflowServiceClient::new(self.channel.clone()).report_action_status(request).await };
        let answer = timeout(ANSWERS_WITHIN, call).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")));
        match answer {
            Ok(answer) => {
                self.offers_watch = answer.metadata().contains_key(proto::watch::OFFER);
                self.offers_logs = answer.metadata().contains_key(proto::logs::OFFER);
                (Reported::Accepted, true)
            }
            Err(status) if matches!(status.code(), Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition) => {
                (Reported::Refused, true)
            }
            Err(status) if is_transport(&status) => (Reported::Unreachable, false),
            Err(_) => (Reported::Trouble, true),
        }
    }

    /// Sends the lines of an action beside everything else, if the server takes them.
    pub fn output(&self, job: &Job, lines: &[String]) {
        if !self.offers_logs {
            return;
        }
        let lines = lines.iter().map(|line| Line { text: line.clone(), stderr: false, age_milliseconds: 0 }).collect();
        let message = AppendRequest {
            agent_id: self.mac.clone(),
            workflow_id: job.workflow.clone(),
            action_id: job.action.clone(),
            lines,
            dropped: 0,
        };
        let mut client = LogsClient::new(self.channel.clone());
        tokio::spawn(async move {
            let _ = timeout(Duration::from_secs(20), client.append(message)).await; // lines are a best effort
        });
    }

    /// The call by which the server can stop the action.
    pub fn watch(&self, job: &Job) -> Option<Watch> {
        if !self.offers_watch {
            return None;
        }
        let mut request = Request::new(ActionRequest { agent_id: Some(self.mac.clone()), agent_attributes: None });
        let workflow = MetadataValue::from_bytes(job.workflow.as_bytes());
        request.metadata_mut().insert_bin(proto::watch::WORKFLOW, workflow);
        let mut client = WorkflowServiceClient::new(self.channel.clone());
        let held = tokio::spawn(async move {
            let _ = client.get_action(request).await; // no action is stopped during a storm
        });
        Some(Watch(held.abort_handle()))
    }
}

fn some(text: impl Into<String>) -> Option<String> {
    Some(text.into())
}

/// What the agent of a small server with two disks and two ports reports.
fn attributes(mac: &str) -> AgentAttributes {
    let processor = |id| Processor {
        id: Some(id),
        cores: Some(16),
        threads: Some(32),
        vendor: some("GenuineIntel"),
        model: some("Intel(R) Xeon(R) Silver 4314 CPU @ 2.40GHz"),
        capabilities: ["fpu", "vme", "pse", "msr", "pae", "aes", "avx", "avx2", "avx512f", "vmx"].map(str::to_owned).to_vec(),
    };
    let disk = |letter: &str| Block {
        name: some(format!("/dev/sd{letter}")),
        controller_type: some("scsi"),
        drive_type: some("ssd"),
        size: some("480103981056"),
        vendor: some("ATA"),
        model: some("MTFDDAK480TDT"),
        wwn: some(format!("0x500a0751{}{letter}", mac.replace(':', ""))),
        serial_number: some(format!("{}{letter}", mac.replace(':', ""))),
        stable_ids: vec![format!("wwn-0x500a0751{}{letter}", mac.replace(':', ""))],
        ..Block::default()
    };
    let port = |name: &str, mac: &str| Network {
        name: some(name),
        mac: some(mac),
        speed: some("10000Mb/s"),
        enabled_capabilities: ["rx-checksumming", "tx-checksumming", "scatter-gather"].map(str::to_owned).to_vec(),
        ..Network::default()
    };
    let device = |product: &str, class: &str, driver: &str| Pci {
        vendor: some("8086"),
        product: some(product),
        class: some(class),
        driver: some(driver),
    };
    AgentAttributes {
        cpu: Some(Cpu { total_cores: Some(32), total_threads: Some(64), processors: vec![processor(0), processor(1)] }),
        memory: Some(Memory { total: some("274877906944"), usable: some("270000000000") }),
        block: vec![disk("a"), disk("b")],
        network: vec![port("eth0", mac), port("eth1", &mac.replacen("52", "56", 1))],
        pci: vec![
            device("a1d2", "Class 01", "ahci"),
            device("1563", "Class 02", "ixgbe"),
            device("1563", "Class 02", "ixgbe"),
            device("a1af", "Class 0c", "xhci_hcd"),
        ],
        gpu: Vec::new(),
        chassis: Some(Chassis { serial: some(mac), vendor: some("Thimble") }),
        bios: Some(Bios { vendor: some("Thimble"), version: some("1.0"), release_date: some("01/01/2026") }),
        baseboard: Some(Baseboard {
            vendor: some("Thimble"),
            product: some("Storm"),
            version: some("1"),
            serial_number: some(mac),
        }),
        product: Some(Product { name: some("Storm"), vendor: some("Thimble"), serial_number: some(mac) }),
        platform: Some(Platform { firmware: some("UEFI"), secure_boot: Some(false), numa_nodes: Some(2), ..Platform::default() }),
    }
}
