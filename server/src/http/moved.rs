//! The paths of earlier versions, for one release: 410 with the call that took the place of each.

use api::paths::{
    APPLY, BACKUP, EVENTS, IMPORT, MACHINES, ROLLOUTS, SYSLOG, machine, machine_intent, machine_log, object, objects, of_rollout,
    of_workflow, rollout,
};
use axum::Router;
use axum::extract::Path;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use axum::routing::any;
use model::{Kind, ObjectName};

use super::{line, problem};
use crate::service::Server;

/// Of an answer: a path can be long.
const MAX_ANSWER: usize = 1000;

pub(super) fn routes() -> Router<Server> {
    Router::new().route("/v1/{*rest}", any(moved))
}

async fn moved(method: Method, Path(rest): Path<String>) -> Response {
    match new_path(&method, &rest) {
        Some(path) => problem(
            StatusCode::GONE,
            line(
                &format!(
                    "this call has moved to {path}, by HTTPS (port 6443 unless `api` is set) or by the socket of the server's host; \
                     `thimble kubeconfig` and `thimble token create` make what a caller on another host needs"
                ),
                MAX_ANSWER,
            ),
        ),
        None => problem(StatusCode::NOT_FOUND, "there is nothing here; the API is below /apis/"),
    }
}

/// What does now what a path below `/v1/` did.
fn new_path(method: &Method, rest: &str) -> Option<String> {
    let parts: Vec<&str> = rest.split('/').collect();
    let name = |namespace: &str, name: &str| ObjectName::new(namespace, name);
    let kind = |plural: &str| Kind::ALL.into_iter().find(|kind| kind.plural() == plural);
    Some(match parts.as_slice() {
        ["apply"] => APPLY.to_owned(),
        ["import"] => IMPORT.to_owned(),
        ["backup"] => BACKUP.to_owned(),
        ["events"] => EVENTS.to_owned(),
        ["syslog"] => SYSLOG.to_owned(),
        ["machines"] => MACHINES.to_owned(),
        ["machines", one, "intent"] => machine_intent(one),
        ["machines", namespace, one, "intent"] => machine_intent(&name(namespace, one).to_string()),
        ["machines", one] => machine(one),
        ["machines", namespace, one] => machine(&name(namespace, one).to_string()),
        ["rollouts"] => ROLLOUTS.to_owned(),
        ["rollouts", namespace, one] => {
            let name = name(namespace, one);
            match *method {
                Method::GET => of_rollout(&name, "progress"),
                Method::POST => of_rollout(&name, "start"),
                _ => rollout(&name),
            }
        }
        ["rollouts", namespace, one, "change"] => of_rollout(&name(namespace, one), "change"),
        ["hardware", namespace, one, "log"] => machine_log(&name(namespace, one)),
        ["workflows", namespace, one, part @ ("log" | "cancel" | "change" | "history" | "waiting")] => {
            of_workflow(&name(namespace, one), part)
        }
        [plural] => objects(kind(plural)?),
        [plural, namespace, one] => object(kind(plural)?, &name(namespace, one)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_of_earlier_versions_has_a_new_one() {
        for (method, old, new) in [
            (Method::POST, "apply", Some("/apis/thimble.dev/v1alpha1/apply")),
            (Method::POST, "import", Some("/apis/thimble.dev/v1alpha1/import")),
            (Method::GET, "backup", Some("/apis/thimble.dev/v1alpha1/backup")),
            (Method::GET, "events", Some("/apis/thimble.dev/v1alpha1/events")),
            (Method::POST, "syslog", Some("/apis/thimble.dev/v1alpha1/syslog")),
            (Method::GET, "machines", Some("/apis/thimble.dev/v1alpha1/machines")),
            (Method::GET, "machines/lab/m1", Some("/apis/thimble.dev/v1alpha1/machines/lab%2Fm1")),
            (Method::GET, "machines/52:54:00:00:00:01", Some("/apis/thimble.dev/v1alpha1/machines/52:54:00:00:00:01")),
            (Method::POST, "machines/m1/intent", Some("/apis/thimble.dev/v1alpha1/machines/m1/intent")),
            (Method::GET, "rollouts", Some("/apis/thimble.dev/v1alpha1/rollouts")),
            (Method::GET, "rollouts/lab/r", Some("/apis/thimble.dev/v1alpha1/namespaces/lab/rollouts/r/progress")),
            (Method::POST, "rollouts/lab/r", Some("/apis/thimble.dev/v1alpha1/namespaces/lab/rollouts/r/start")),
            (Method::DELETE, "rollouts/lab/r", Some("/apis/thimble.dev/v1alpha1/namespaces/lab/rollouts/r")),
            (Method::POST, "rollouts/lab/r/change", Some("/apis/thimble.dev/v1alpha1/namespaces/lab/rollouts/r/change")),
            (Method::GET, "hardware", Some("/apis/tinkerbell.org/v1alpha1/hardware")),
            (Method::GET, "hardware/lab/m1", Some("/apis/tinkerbell.org/v1alpha1/namespaces/lab/hardware/m1")),
            (Method::GET, "hardware/lab/m1/log", Some("/apis/thimble.dev/v1alpha1/namespaces/lab/machinestates/m1/log")),
            (Method::GET, "workflows/lab/w/log", Some("/apis/tinkerbell.org/v1alpha1/namespaces/lab/workflows/w/log")),
            (Method::POST, "workflows/lab/w/cancel", Some("/apis/tinkerbell.org/v1alpha1/namespaces/lab/workflows/w/cancel")),
            (Method::GET, "workflows.v1alpha2/lab/w", Some("/apis/tinkerbell.org/v1alpha2/namespaces/lab/workflows/w")),
            (Method::GET, "pods", None),
            (Method::GET, "pods/lab/p", None),
            (Method::GET, "workflows/lab/w/other", None),
            (Method::GET, "", None),
        ] {
            assert_eq!(new_path(&method, old).as_deref(), new, "{method} {old}");
        }
    }
}
