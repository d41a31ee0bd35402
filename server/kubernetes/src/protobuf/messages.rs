//! The messages that clients send: field numbers, JSON names and types.

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    pub number: u64,
    pub key: &'static str,
    pub kind: Type,
    pub repeated: bool,
}

#[derive(Debug)]
pub enum Type {
    Text,
    /// A text where an empty one is meant.
    Entry,
    /// Bytes, which JSON has as base64.
    Base64,
    /// JSON in a message.
    Json,
    Int,
    /// A number whose zero is meant.
    IntOrZero,
    Bool,
    Message(&'static [Field]),
    Time,
    MicroTime,
    Map(&'static Type),
}

const fn one(number: u64, key: &'static str, kind: Type) -> Field {
    Field { number, key, kind, repeated: false }
}

const fn many(number: u64, key: &'static str, kind: Type) -> Field {
    Field { number, key, kind, repeated: true }
}

const TEXT_MAP: Type = Type::Map(&Type::Entry);
const BYTES_MAP: Type = Type::Map(&Type::Base64);

/// The fields of a kind's message.
pub fn message(version: &str, kind: &str) -> Option<&'static [Field]> {
    Some(match (version, kind) {
        ("v1", "Secret") => SECRET,
        ("v1", "ConfigMap") => CONFIG_MAP,
        ("v1", "Namespace") => NAMESPACE,
        ("v1", "Event") => EVENT,
        ("events.k8s.io/v1", "Event") => NEW_EVENT,
        ("coordination.k8s.io/v1", "Lease") => LEASE,
        ("authorization.k8s.io/v1", "SelfSubjectAccessReview") => ACCESS_REVIEW,
        ("authorization.k8s.io/v1", "SelfSubjectRulesReview") => RULES_REVIEW,
        ("authentication.k8s.io/v1", "SelfSubjectReview") => SUBJECT_REVIEW,
        (_, "DeleteOptions") => DELETE_OPTIONS,
        _ => return None,
    })
}

const METADATA: Field = one(1, "metadata", Type::Message(OBJECT_META));

const OBJECT_META: &[Field] = &[
    one(1, "name", Type::Text),
    one(2, "generateName", Type::Text),
    one(3, "namespace", Type::Text),
    one(5, "uid", Type::Text),
    one(6, "resourceVersion", Type::Text),
    one(7, "generation", Type::Int),
    one(8, "creationTimestamp", Type::Time),
    one(9, "deletionTimestamp", Type::Time),
    one(10, "deletionGracePeriodSeconds", Type::IntOrZero),
    one(11, "labels", TEXT_MAP),
    one(12, "annotations", TEXT_MAP),
    many(13, "ownerReferences", Type::Message(OWNER)),
    many(14, "finalizers", Type::Text),
    many(17, "managedFields", Type::Message(MANAGED)),
];

const OWNER: &[Field] = &[
    one(1, "kind", Type::Text),
    one(3, "name", Type::Text),
    one(4, "uid", Type::Text),
    one(5, "apiVersion", Type::Text),
    one(6, "controller", Type::Bool),
    one(7, "blockOwnerDeletion", Type::Bool),
];

const MANAGED: &[Field] = &[
    one(1, "manager", Type::Text),
    one(2, "operation", Type::Text),
    one(3, "apiVersion", Type::Text),
    one(4, "time", Type::Time),
    one(6, "fieldsType", Type::Text),
    one(7, "fieldsV1", Type::Json),
    one(8, "subresource", Type::Text),
];

const SECRET: &[Field] = &[
    METADATA,
    one(2, "data", BYTES_MAP),
    one(3, "type", Type::Text),
    one(4, "stringData", TEXT_MAP),
    one(5, "immutable", Type::Bool),
];

const CONFIG_MAP: &[Field] =
    &[METADATA, one(2, "data", TEXT_MAP), one(3, "binaryData", BYTES_MAP), one(4, "immutable", Type::Bool)];

const NAMESPACE: &[Field] = &[
    METADATA,
    one(2, "spec", Type::Message(&[many(1, "finalizers", Type::Text)])),
    one(3, "status", Type::Message(&[one(1, "phase", Type::Text)])),
];

const LEASE: &[Field] = &[
    METADATA,
    one(
        2,
        "spec",
        Type::Message(&[
            one(1, "holderIdentity", Type::Entry), // a leader that steps down writes an empty one
            one(2, "leaseDurationSeconds", Type::IntOrZero),
            one(3, "acquireTime", Type::MicroTime),
            one(4, "renewTime", Type::MicroTime),
            one(5, "leaseTransitions", Type::IntOrZero),
            one(6, "strategy", Type::Text),
            one(7, "preferredHolder", Type::Text),
        ]),
    ),
];

const REFERENCE: &[Field] = &[
    one(1, "kind", Type::Text),
    one(2, "namespace", Type::Text),
    one(3, "name", Type::Text),
    one(4, "uid", Type::Text),
    one(5, "apiVersion", Type::Text),
    one(6, "resourceVersion", Type::Text),
    one(7, "fieldPath", Type::Text),
];

const SOURCE: &[Field] = &[one(1, "component", Type::Text), one(2, "host", Type::Text)];
const SERIES: &[Field] = &[one(1, "count", Type::Int), one(2, "lastObservedTime", Type::MicroTime)];

const EVENT: &[Field] = &[
    METADATA,
    one(2, "involvedObject", Type::Message(REFERENCE)),
    one(3, "reason", Type::Text),
    one(4, "message", Type::Text),
    one(5, "source", Type::Message(SOURCE)),
    one(6, "firstTimestamp", Type::Time),
    one(7, "lastTimestamp", Type::Time),
    one(8, "count", Type::Int),
    one(9, "type", Type::Text),
    one(10, "eventTime", Type::MicroTime),
    one(11, "series", Type::Message(SERIES)),
    one(12, "action", Type::Text),
    one(13, "related", Type::Message(REFERENCE)),
    one(14, "reportingComponent", Type::Text),
    one(15, "reportingInstance", Type::Text),
];

const NEW_EVENT: &[Field] = &[
    METADATA,
    one(2, "eventTime", Type::MicroTime),
    one(3, "series", Type::Message(SERIES)),
    one(4, "reportingController", Type::Text),
    one(5, "reportingInstance", Type::Text),
    one(6, "action", Type::Text),
    one(7, "reason", Type::Text),
    one(8, "regarding", Type::Message(REFERENCE)),
    one(9, "related", Type::Message(REFERENCE)),
    one(10, "note", Type::Text),
    one(11, "type", Type::Text),
    one(12, "deprecatedSource", Type::Message(SOURCE)),
    one(13, "deprecatedFirstTimestamp", Type::Time),
    one(14, "deprecatedLastTimestamp", Type::Time),
    one(15, "deprecatedCount", Type::Int),
];

const ACCESS_REVIEW: &[Field] = &[
    METADATA,
    one(
        2,
        "spec",
        Type::Message(&[
            one(
                1,
                "resourceAttributes",
                Type::Message(&[
                    one(1, "namespace", Type::Text),
                    one(2, "verb", Type::Text),
                    one(3, "group", Type::Text),
                    one(4, "version", Type::Text),
                    one(5, "resource", Type::Text),
                    one(6, "subresource", Type::Text),
                    one(7, "name", Type::Text),
                ]),
            ),
            one(2, "nonResourceAttributes", Type::Message(&[one(1, "path", Type::Text), one(2, "verb", Type::Text)])),
        ]),
    ),
];

const RULES_REVIEW: &[Field] = &[METADATA, one(2, "spec", Type::Message(&[one(1, "namespace", Type::Text)]))];
const SUBJECT_REVIEW: &[Field] = &[METADATA];

const DELETE_OPTIONS: &[Field] = &[
    one(1, "gracePeriodSeconds", Type::IntOrZero),
    one(2, "preconditions", Type::Message(&[one(1, "uid", Type::Text), one(2, "resourceVersion", Type::Text)])),
    one(3, "orphanDependents", Type::Bool),
    one(4, "propagationPolicy", Type::Text),
    many(5, "dryRun", Type::Text),
];
