//! What `kubectl explain` says of a field.

use crate::resources::{BMC, Resource};

/// The description of a kind.
#[must_use]
pub fn kind(resource: &Resource) -> &'static str {
    match (resource.kind, resource.version) {
        ("Hardware", _) => "What is known of a machine before its first boot.",
        ("Template", _) => "The tasks and actions of a workflow, as a Go template.",
        ("Workflow", "v1alpha2") => "Tasks meant for machines, and what has happened to them.",
        ("Workflow", _) => "A template meant for a machine, and what has happened to it.",
        ("WorkflowRuleSet", _) => "Which agents get a workflow by themselves.",
        ("MachineState", _) => "What a machine boots. Setting spec.intent is an order.",
        ("Rollout", _) => "One order for many machines.",
        ("DHCPLease", _) => "An address of a DHCP pool, and which machine has it. boots writes it.",
        ("Policy", _) => "Which objects may refer to which.",
        ("Task", _) if resource.group != BMC => "Actions that one agent runs.",
        ("Machine" | "Job" | "Task", _) => "An object of Rufio, for machines with a BMC. It is stored only.",
        _ => "",
    }
}

/// The description of a field, by its path from the object, such as `spec.interfaces.dhcp.mac`.
#[must_use]
pub fn field(kind: &str, path: &str) -> &'static str {
    let find = |table: &[(&str, &'static str)]| table.iter().find(|(known, _)| *known == path).map(|(_, text)| *text);
    tables(kind).iter().chain(&[COMMON]).find_map(|table| find(table)).unwrap_or_default()
}

fn tables(kind: &str) -> &'static [&'static [(&'static str, &'static str)]] {
    match kind {
        "Hardware" => &[MACHINE, REFERENCES, INTERFACE, INSTANCE, STORAGE],
        "Template" => &[TEMPLATE],
        "Workflow" => &[WORKFLOW, TASKS, REFERENCES, PROGRESS],
        "WorkflowRuleSet" => &[RULE_SET],
        "MachineState" => &[STATE],
        "Rollout" => &[ROLLOUT],
        "DHCPLease" => &[DHCP_LEASE],
        "Task" => &[TASK, REFERENCES],
        "Policy" => &[POLICY],
        _ => &[],
    }
}

type Table = &'static [(&'static str, &'static str)];

const COMMON: Table = &[
    ("apiVersion", "The version of the object's fields."),
    ("kind", "What the object is."),
    ("metadata", "Name, namespace, labels, and what the server keeps."),
    ("spec", "What is wanted."),
    ("status", "What the server reports. It follows from what happens."),
    ("status.state", "The state in one word."),
];

const MACHINE: Table = &[
    ("spec.agentID", "The ID of the machine's agent, if it is not the MAC address of an interface."),
    ("spec.auto", "What may happen without an order."),
    ("spec.auto.enrollmentEnabled", "Whether a WorkflowRuleSet may make a Workflow for this machine."),
    ("spec.bmcRef", "The Machine object of the BMC."),
    ("spec.bmcRef.apiGroup", "Of the Machine object: bmc.tinkerbell.org."),
    ("spec.bmcRef.kind", "Of the Machine object: Machine."),
    ("spec.bmcRef.name", "The name of the Machine object."),
    ("spec.disks", "Disks that templates name, the first one usually for the operating system."),
    ("spec.disks.device", "A device file, such as /dev/sda or /dev/disk/by-id/..."),
    ("spec.interfaces", "Network interfaces. DHCP finds the machine by their MAC addresses."),
    ("spec.metadata", "What the installed system finds at the metadata service, and templates use."),
    ("spec.resources", "Quantities for schedulers, such as cpu and memory. Nothing here reads them."),
    ("spec.tinkVersion", "Nothing reads it."),
    ("spec.userData", "The user-data of the metadata service, for cloud-init."),
    ("spec.vendorData", "The vendor-data of the metadata service, for cloud-init."),
    ("status.attributes", "What the machine's agent found: processors, memory, disks, network cards."),
];

const REFERENCES: Table = &[
    ("spec.references", "Further objects for templates, by the name under which a template sees them."),
    ("spec.references.group", "The API group, such as tinkerbell.org."),
    ("spec.references.name", "The object's name."),
    ("spec.references.namespace", "The object's namespace."),
    ("spec.references.resource", "The plural name of the kind, such as hardware."),
    ("spec.references.version", "The API version, such as v1alpha1."),
];

const INTERFACE: Table = &[
    ("spec.interfaces.dhcp", "What DHCP answers."),
    ("spec.interfaces.dhcp.arch", "The processor's architecture, such as x86_64 or aarch64."),
    ("spec.interfaces.dhcp.boot_file_name", "The boot file, option 67, in place of the one that fits the firmware."),
    ("spec.interfaces.dhcp.classless_static_routes", "Routes, option 121."),
    ("spec.interfaces.dhcp.classless_static_routes.destination_descriptor", "The destination, such as 10.0.0.0/8."),
    ("spec.interfaces.dhcp.classless_static_routes.router", "The router of the route."),
    ("spec.interfaces.dhcp.domain_name", "Option 15."),
    ("spec.interfaces.dhcp.hostname", "Option 12."),
    ("spec.interfaces.dhcp.iface_name", "The interface's name in the installed system."),
    ("spec.interfaces.dhcp.ip", "The address."),
    ("spec.interfaces.dhcp.ip.address", "Given to the machine."),
    ("spec.interfaces.dhcp.ip.family", "4 or 6."),
    ("spec.interfaces.dhcp.ip.gateway", "The default router, option 3."),
    ("spec.interfaces.dhcp.ip.netmask", "Option 1."),
    ("spec.interfaces.dhcp.lease_time", "Seconds, option 51."),
    ("spec.interfaces.dhcp.mac", "The MAC address of the interface."),
    ("spec.interfaces.dhcp.name_servers", "Option 6."),
    ("spec.interfaces.dhcp.tftp_server_name", "Option 66, in place of this server's address."),
    ("spec.interfaces.dhcp.time_servers", "Option 42."),
    ("spec.interfaces.dhcp.uefi", "Whether the firmware is UEFI."),
    ("spec.interfaces.dhcp.vlan_id", "The VLAN from which the machine is answered."),
    ("spec.interfaces.disableDhcp", "Whether DHCP ignores this interface."),
    ("spec.interfaces.isoboot", "Boot from an ISO image."),
    ("spec.interfaces.isoboot.sourceISO", "The URL of the ISO image."),
    ("spec.interfaces.netboot", "How the machine boots from the network."),
    ("spec.interfaces.netboot.allowPXE", "Whether it may. Without it the machine boots its disk."),
    ("spec.interfaces.netboot.allowWorkflow", "Whether the machine may run workflows."),
    ("spec.interfaces.netboot.ipxe", "An iPXE script of its own."),
    ("spec.interfaces.netboot.ipxe.binary", "The name of another iPXE binary."),
    ("spec.interfaces.netboot.ipxe.contents", "The script."),
    ("spec.interfaces.netboot.ipxe.url", "Where iPXE finds the script."),
    ("spec.interfaces.netboot.osie", "Another kernel and ramdisk."),
    ("spec.interfaces.netboot.osie.baseURL", "The folder of kernel and ramdisk."),
    ("spec.interfaces.netboot.osie.initrd", "The ramdisk's file name."),
    ("spec.interfaces.netboot.osie.kernel", "The kernel's file name."),
    ("spec.interfaces.netboot.osie.kernelParams", "Further kernel arguments."),
    ("spec.interfaces.netboot.pxelinux", "For firmware that reads the configuration of PXELINUX."),
    ("spec.interfaces.netboot.pxelinux.config", "The content of the configuration file."),
    ("spec.interfaces.netboot.rpi", "For Raspberry Pi."),
    ("spec.interfaces.netboot.rpi.configTxt", "The content of config.txt."),
    ("spec.interfaces.netboot.rpi.firmwarePath", "The folder of the firmware's files."),
    ("spec.interfaces.netboot.rpi.serialNum", "The serial number, with which the firmware asks by TFTP."),
];

const INSTANCE: Table = &[
    ("spec.metadata.bonding_mode", "The number of the bonding mode in the installed system."),
    ("spec.metadata.custom", "Further facts."),
    ("spec.metadata.custom.preinstalled_operating_system_version", "The operating system that the machine came with."),
    ("spec.metadata.custom.preinstalled_operating_system_version.distro", "Its distribution."),
    ("spec.metadata.custom.preinstalled_operating_system_version.image_tag", "The tag of its image."),
    ("spec.metadata.custom.preinstalled_operating_system_version.os_slug", "Its short name with the version."),
    ("spec.metadata.custom.preinstalled_operating_system_version.slug", "Its short name."),
    ("spec.metadata.custom.preinstalled_operating_system_version.version", "Its version."),
    ("spec.metadata.custom.private_subnets", "Networks that are private."),
    ("spec.metadata.facility", "Where the machine is."),
    ("spec.metadata.facility.facility_code", "The code of the place."),
    ("spec.metadata.facility.plan_slug", "The kind of machine."),
    ("spec.metadata.facility.plan_version_slug", "The kind of machine with its version."),
    ("spec.metadata.instance", "The installed system."),
    ("spec.metadata.instance.allow_pxe", "Whether the firmware may boot from the network."),
    ("spec.metadata.instance.always_pxe", "Whether the firmware always boots from the network."),
    ("spec.metadata.instance.crypted_root_password", "The hash of root's password."),
    ("spec.metadata.instance.hostname", "The host name of the installed system."),
    ("spec.metadata.instance.id", "The instance's ID. With a new one, cloud-init runs again."),
    ("spec.metadata.instance.ips", "Addresses of the installed system."),
    ("spec.metadata.instance.ips.address", "The address."),
    ("spec.metadata.instance.ips.family", "4 or 6."),
    ("spec.metadata.instance.ips.gateway", "Its router."),
    ("spec.metadata.instance.ips.management", "Whether it is for management."),
    ("spec.metadata.instance.ips.netmask", "Its netmask."),
    ("spec.metadata.instance.ips.public", "Whether it is public."),
    ("spec.metadata.instance.ipxe_script_url", "Where iPXE finds a script for this instance."),
    ("spec.metadata.instance.network_ready", "Whether the network is set up."),
    ("spec.metadata.instance.operating_system", "The operating system to install."),
    ("spec.metadata.instance.operating_system.distro", "Its distribution."),
    ("spec.metadata.instance.operating_system.image_tag", "The tag of its image."),
    ("spec.metadata.instance.operating_system.os_slug", "Its short name with the version."),
    ("spec.metadata.instance.operating_system.slug", "Its short name."),
    ("spec.metadata.instance.operating_system.version", "Its version."),
    ("spec.metadata.instance.rescue", "Whether the instance is being rescued."),
    ("spec.metadata.instance.ssh_keys", "Public SSH keys for the installed system."),
    ("spec.metadata.instance.state", "The state of the instance."),
    ("spec.metadata.instance.storage", "Disks, partitions and file systems, for the action rootio."),
    ("spec.metadata.instance.tags", "Tags of the instance."),
    ("spec.metadata.instance.userdata", "User-data in the older place; spec.userData is the newer one."),
    ("spec.metadata.manufacturer", "Who made the machine."),
    ("spec.metadata.manufacturer.id", "The maker's ID."),
    ("spec.metadata.manufacturer.slug", "The maker's short name."),
    ("spec.metadata.state", "The state of the machine."),
];

const STORAGE: Table = &[
    ("spec.metadata.instance.storage.disks", "Disks with their partitions."),
    ("spec.metadata.instance.storage.disks.device", "The device file of the disk."),
    ("spec.metadata.instance.storage.disks.partitions", "Partitions in their order."),
    ("spec.metadata.instance.storage.disks.partitions.label", "The partition's name."),
    ("spec.metadata.instance.storage.disks.partitions.number", "The partition's number, from 1."),
    ("spec.metadata.instance.storage.disks.partitions.size", "The size in sectors; 0 takes the rest of the disk."),
    ("spec.metadata.instance.storage.disks.partitions.start", "The first sector."),
    ("spec.metadata.instance.storage.disks.partitions.type_guid", "The partition's type."),
    ("spec.metadata.instance.storage.disks.wipe_table", "Whether a new partition table is made."),
    ("spec.metadata.instance.storage.filesystems", "File systems."),
    ("spec.metadata.instance.storage.filesystems.mount", "A file system and where it is mounted."),
    ("spec.metadata.instance.storage.filesystems.mount.create", "How it is made."),
    ("spec.metadata.instance.storage.filesystems.mount.create.force", "Whether an existing file system is replaced."),
    ("spec.metadata.instance.storage.filesystems.mount.create.options", "Further arguments of mkfs."),
    ("spec.metadata.instance.storage.filesystems.mount.device", "The device file."),
    ("spec.metadata.instance.storage.filesystems.mount.files", "Files in it."),
    ("spec.metadata.instance.storage.filesystems.mount.files.contents", "The file's content."),
    ("spec.metadata.instance.storage.filesystems.mount.files.gid", "The number of the group."),
    ("spec.metadata.instance.storage.filesystems.mount.files.mode", "The mode, as a decimal number."),
    ("spec.metadata.instance.storage.filesystems.mount.files.path", "Where the file is."),
    ("spec.metadata.instance.storage.filesystems.mount.files.uid", "The number of the owner."),
    ("spec.metadata.instance.storage.filesystems.mount.format", "The type, such as ext4 or vfat."),
    ("spec.metadata.instance.storage.filesystems.mount.point", "Where it is mounted, such as /boot."),
    ("spec.metadata.instance.storage.raid", "Software RAID."),
    ("spec.metadata.instance.storage.raid.devices", "The members."),
    ("spec.metadata.instance.storage.raid.level", "The level, such as 1."),
    ("spec.metadata.instance.storage.raid.name", "The device file of the array."),
    ("spec.metadata.instance.storage.raid.spare", "How many members are spare."),
];

const TEMPLATE: Table = &[("spec.data", "YAML with tasks and actions, in which {{...}} is replaced for each machine.")];

const WORKFLOW: Table = &[
    ("spec.bootOptions", "What is done to the machine before and after the actions."),
    ("spec.bootOptions.bootMode", "How the machine is made to boot the ramdisk, by its BMC."),
    ("spec.bootOptions.custombootConfig", "BMC actions of bootMode customboot."),
    ("spec.bootOptions.custombootConfig.postActions", "BMC actions after the last action."),
    ("spec.bootOptions.custombootConfig.preparingActions", "BMC actions before the first action."),
    ("spec.bootOptions.isoURL", "The ISO image for virtual media."),
    ("spec.bootOptions.toggleAllowNetboot", "Whether allowPXE is set before the actions and taken back after them."),
    ("spec.disabled", "Whether the workflow waits. Nothing runs meanwhile."),
    ("spec.hardwareMap", "Values for the template, such as device_1 with the ID of an agent."),
    ("spec.hardwareRef", "The Hardware of the machine, which the template sees."),
    ("spec.templateRef", "The name of the Template."),
];

/// Of v1alpha2.
const TASKS: Table = &[
    ("spec.globals", "What all tasks get."),
    ("spec.globals.env", "Environment variables."),
    ("spec.globals.templateMap", "Values for templates."),
    ("spec.globals.volumes", "Folders of the machine for the actions, as SOURCE:DESTINATION."),
    ("spec.tasks", "What runs where, one after the other."),
    ("spec.tasks.agentID", "The agent that runs the task."),
    ("spec.tasks.extra", "What this task gets besides the globals."),
    ("spec.tasks.extra.env", "Environment variables."),
    ("spec.tasks.extra.templateMap", "Values for templates."),
    ("spec.tasks.extra.volumes", "Folders of the machine for the actions, as SOURCE:DESTINATION."),
    ("spec.tasks.hardware", "The machine, and how it boots."),
    ("spec.tasks.hardware.bootOptions", "What is done to the machine before and after the actions."),
    ("spec.tasks.hardware.bootOptions.bootMode", "How the machine is made to boot the ramdisk, by its BMC."),
    ("spec.tasks.hardware.bootOptions.customboot", "BMC operations of bootMode customboot."),
    ("spec.tasks.hardware.bootOptions.customboot.postOperations", "BMC operations after the last action."),
    ("spec.tasks.hardware.bootOptions.customboot.preOperations", "BMC operations before the first action."),
    ("spec.tasks.hardware.bootOptions.isoURL", "The ISO image for virtual media."),
    ("spec.tasks.hardware.bootOptions.toggleNetboot", "Whether allowPXE is set before the actions and taken back after them."),
    ("spec.tasks.hardware.hardwareRef", "The Hardware of the machine."),
    ("spec.tasks.hardware.hardwareRef.name", "Its name."),
    ("spec.tasks.hardware.hardwareRef.namespace", "Its namespace."),
    ("spec.tasks.taskRef", "The Task."),
    ("spec.tasks.taskRef.name", "Its name."),
    ("spec.tasks.taskRef.namespace", "Its namespace."),
    ("spec.tasks.timeoutSeconds", "For all actions of the task together."),
    ("spec.timeoutSeconds", "For the whole workflow."),
    ("spec.vars", "Values for templates."),
];

const PROGRESS: Table = &[
    ("status.actionStop", "When the running action must have ended."),
    ("status.agentID", "The agent of the current task."),
    ("status.begun", "When the first action was handed out."),
    ("status.bootOptions", "What the boot options have done so far."),
    ("status.cancellation", "That the workflow shall end early."),
    ("status.currentState", "The task and the action that come next or run now."),
    ("status.globalExecutionStop", "When the workflow must have ended."),
    ("status.globalTimeout", "Seconds for the whole workflow."),
    ("status.logServers", "Of several servers those that have lines of its log."),
    ("status.logged", "How much the actions have printed."),
    ("status.message", "Why the workflow is in this state."),
    ("status.ordered", "When its machine got the order."),
    ("status.paused", "Who has paused the workflow, when and why."),
    ("status.progress", "How far the running action is, by its own words."),
    ("status.retryAt", "When a failed action is tried again."),
    ("status.state", "PENDING, RUNNING, POST, SUCCESS, FAILED or TIMEOUT."),
    ("status.taskStop", "When the current task must have ended."),
    ("status.tasks", "The tasks and actions as they were rendered, and how each of them went."),
    ("status.templateRendering", "Whether the template could be rendered: successful or failed."),
];

const RULE_SET: Table = &[
    ("spec.rules", "Patterns over the attributes of an agent. One that matches is enough."),
    ("spec.workflow", "The Workflow that a matching agent gets."),
    ("spec.workflow.addAttributes", "Whether the template sees the attributes of the agent."),
    ("spec.workflow.disabled", "Whether the Workflow is made disabled."),
    ("spec.workflow.namespace", "Where the Workflow is made."),
    ("spec.workflow.template", "The template and its values."),
    ("spec.workflow.template.agentValue", "The key of hardwareMap that gets the ID of the agent."),
    ("spec.workflow.template.kvs", "Further values of hardwareMap."),
    ("spec.workflow.template.ref", "The name of the Template."),
];

const STATE: Table = &[
    ("spec.intent", "What the machine shall boot. `approve` ends a hold."),
    ("spec.reason", "Why; it is kept with the decision."),
];

const ROLLOUT: Table = &[
    ("spec.atOnce", "How many machines work at the same time."),
    ("spec.machineTimeout", "Seconds after which an unfinished machine counts as failed. 0 means never."),
    ("spec.selector", "A label selector over the Hardware of the namespace."),
    ("spec.state", "Pauses, stops, or goes on."),
    ("spec.stopAfter", "How many failed machines stop the rollout. 0 means never."),
    ("spec.templateRef", "The Template that each machine runs."),
    ("spec.waves", "How many machines are in the first waves. The last wave has all others."),
    ("spec.workerKey", "The key of hardwareMap that gets the ID of the machine's agent."),
];

const DHCP_LEASE: Table = &[
    ("spec.address", "The IPv4 address of a pool; also the name of the object."),
    ("spec.id", "The client identifier in hexadecimal, if it says more than the MAC address."),
    ("spec.mac", "The MAC address of the machine."),
    ("spec.since", "When the address was given or given back, in seconds since 1970."),
    ("spec.state", "Whether the machine has the address, gave it back, or found another host there."),
    ("spec.until", "When the lease ends, in seconds since 1970."),
];

const TASK: Table = &[
    ("spec.actions", "Container images that run one after the other."),
    ("spec.actions.args", "Arguments of the image's program."),
    ("spec.actions.background", "Whether the next action starts without waiting for the end of this one."),
    ("spec.actions.command", "Another program of the image."),
    ("spec.actions.env", "Environment variables."),
    ("spec.actions.if", "A template; the action is skipped if it gives false."),
    ("spec.actions.image", "The image, such as registry/name:tag."),
    ("spec.actions.name", "The name of the action in this task."),
    ("spec.actions.namespaces", "Namespaces of the machine that the action shares."),
    ("spec.actions.namespaces.network", "Of the network: host, or nothing for one of its own."),
    ("spec.actions.namespaces.pid", "Of processes: host, or nothing for one of its own."),
    ("spec.actions.retries", "How often a failed action is tried again."),
    ("spec.actions.timeoutSeconds", "For one try."),
    ("spec.actions.volumes", "Folders of the machine for the action, as SOURCE:DESTINATION."),
    ("spec.env", "Environment variables of all actions."),
    ("spec.vars", "Values for templates."),
    ("spec.volumes", "Folders of the machine for all actions, as SOURCE:DESTINATION."),
];

const POLICY: Table = &[
    ("spec.rules", "What is allowed."),
    ("spec.rules.referenceAccess", "Which objects may be referred to, by the kind that refers."),
    ("spec.rules.referenceAccess.hardware", "For references of Hardware."),
    ("spec.rules.referenceAccess.task", "For references of Tasks."),
    ("spec.rules.referenceAccess.workflow", "For references of Workflows."),
    ("spec.rules.workflowAutoCreation", "Refused for now."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use model::yaml::Shape;

    use super::*;
    use crate::resources::{RESOURCES, THIMBLE, TINKERBELL};
    use crate::shapes::top;

    fn paths(shape: &Shape, path: &str, found: &mut BTreeSet<String>) {
        match shape {
            Shape::Record(fields) => {
                for field in *fields {
                    let path = format!("{path}.{}", field.key);
                    paths(&field.shape, &path, found);
                    found.insert(path);
                }
            }
            Shape::List(of) | Shape::ListOr(of, _) | Shape::Map(of) => paths(of, path, found),
            _ => {}
        }
    }

    fn fields(resource: &Resource) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for field in top(resource.family).into_iter().filter(|field| field.key != "metadata") {
            found.insert(field.key.to_owned());
            paths(field.shape, field.key, &mut found);
        }
        found
    }

    /// The lists of rules of a Policy repeat themselves; the state of a Workflow has many details.
    fn is_detail(kind: &str, path: &str) -> bool {
        let depth = path.split('.').count();
        kind == "Policy" && depth > 4 || path.starts_with("status.") && depth > 2
    }

    #[test]
    fn every_field_that_a_person_writes_is_explained() {
        for resource in RESOURCES.iter().filter(|one| matches!(one.group, TINKERBELL | THIMBLE)) {
            assert_ne!(kind(resource), "", "{}", resource.kind);
            let missing: Vec<String> = fields(resource)
                .into_iter()
                .filter(|path| !is_detail(resource.kind, path) && field(resource.kind, path).is_empty())
                .collect();
            assert!(missing.is_empty(), "{} {}: {missing:#?}", resource.kind, resource.version);
        }
    }

    #[test]
    fn nothing_is_explained_that_does_not_exist() {
        for name in
            ["Hardware", "Template", "Workflow", "WorkflowRuleSet", "MachineState", "Rollout", "DHCPLease", "Task", "Policy"]
        {
            let kinds = RESOURCES.iter().filter(|one| one.kind == name && one.group != BMC);
            let known: BTreeSet<String> = kinds.flat_map(fields).collect();
            for (path, _) in tables(name).iter().copied().flatten() {
                assert!(known.contains(*path), "{name} has no {path}");
            }
        }
    }
}
