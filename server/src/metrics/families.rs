//! Every family that the server writes.

use metrics::Family;

pub static BUILD: Family = Family::gauge("thimble_build_info", "1, with the version of the program.", &["version"]);
pub static OBJECTS: Family = Family::gauge("thimble_objects", "Objects in the store.", &["kind"]);
pub static WORKFLOWS: Family =
    Family::gauge("thimble_workflows", "Workflows by state; NOT_READY are those that are not rendered.", &["state"]);
pub static WAITING: Family =
    Family::gauge("thimble_workflows_waiting", "Unfinished workflows by what they wait for.", &["phase"]);
pub static OVERDUE: Family = Family::gauge(
    "thimble_machines_overdue",
    "Machines whose workflow has waited longer than its phase should take, by phase.",
    &["phase"],
);
pub static MACHINES: Family = Family::gauge("thimble_machines", "Machines by what they shall boot.", &["intent"]);
pub static ACTIONS: Family = Family::histogram(
    "thimble_action_duration_seconds",
    "Actions that have ended since the start, by result, and how long each took.",
    &["result"],
);
pub static HELD: Family = Family::gauge(
    "thimble_held_calls",
    "Calls of agents that are held open: `action` waits for work, `workflow` for a running action to be stopped.",
    &["for"],
);
pub static AGENTS: Family =
    Family::gauge("thimble_agents_connected", "Agents with a held call, or heard within the last two minutes.", &[]);
pub static REVISION: Family = Family::gauge("thimble_store_revision", "The store's latest revision.", &[]);
pub static SIZE: Family = Family::gauge("thimble_store_size_bytes", "Size of the store's file; 0 without one.", &[]);
pub static COMMITS: Family = Family::histogram("thimble_store_commit_seconds", "How long commits took.", &[]);
pub static COMMIT_FAILURES: Family =
    Family::counter("thimble_store_commit_failures_total", "Commits that the disk did not take.", &[]);
pub static GRPC: Family =
    Family::counter("thimble_grpc_calls_total", "Answered calls of the workflow service.", &["method", "code"]);
pub static API: Family =
    Family::counter("thimble_api_requests_total", "Answered requests by HTTPS and by the socket.", &["method", "code"]);
pub static REFUSED: Family = Family::counter(
    "thimble_refused_calls_total",
    "Refused callers: codes of gRPC, and of the API `unauthenticated` and `forbidden`.",
    &["reason"],
);
pub static CONNECTIONS: Family =
    Family::gauge("thimble_connections", "Open connections of clients, by all ports and the socket.", &[]);
pub static REFUSED_CONNECTIONS: Family = Family::counter(
    "thimble_refused_connections_total",
    "Connections closed at once: `share` of clients that have too many, `full` when no place is left, `files` when the process cannot open another file.",
    &["reason"],
);
pub static MEMORY: Family = Family::gauge("process_resident_memory_bytes", "Memory of the process.", &[]);
pub static CPU: Family = Family::counter("process_cpu_seconds_total", "CPU time of the process.", &[]);
pub static OPEN_FILES: Family = Family::gauge("process_open_fds", "Open file descriptors.", &[]);
pub static MOST_FILES: Family = Family::gauge("process_max_fds", "How many file descriptors may be open.", &[]);
pub static STARTED: Family = Family::gauge("process_start_time_seconds", "Start of the server, in Unix time.", &[]);

/// In the order of the page.
pub static FAMILIES: [&Family; 23] = [
    &BUILD,
    &OBJECTS,
    &WORKFLOWS,
    &WAITING,
    &OVERDUE,
    &MACHINES,
    &ACTIONS,
    &HELD,
    &AGENTS,
    &REVISION,
    &SIZE,
    &COMMITS,
    &COMMIT_FAILURES,
    &GRPC,
    &API,
    &REFUSED,
    &CONNECTIONS,
    &REFUSED_CONNECTIONS,
    &MEMORY,
    &CPU,
    &OPEN_FILES,
    &MOST_FILES,
    &STARTED,
];
