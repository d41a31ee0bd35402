//! What a machine's storage shall be, as the metadata service says it. Pure.

use serde_json::Value;

/// A document of the metadata service is a few kilobytes.
pub const DOCUMENT_MAX: u64 = 1 << 20;
const ENTRIES_MAX: usize = 256;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Storage {
    pub disks: Vec<Disk>,
    pub filesystems: Vec<Filesystem>,
    pub groups: Vec<VolumeGroup>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// A path or a selector.
    pub device: String,
    pub wipe_table: bool,
    pub partitions: Vec<Partition>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Partition {
    pub label: String,
    pub number: u64,
    /// In sectors of 512 bytes, whatever the disk has. 0 is the rest of the disk.
    pub size: u64,
    /// The first sector of 512 bytes, if it is not the next one that is free.
    pub start: Option<u64>,
    pub type_guid: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filesystem {
    pub device: String,
    pub format: String,
    pub point: String,
    /// For the program that makes it.
    pub options: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeGroup {
    pub name: String,
    pub physical_volumes: Vec<String>,
    pub tags: Vec<String>,
    pub logical_volumes: Vec<LogicalVolume>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogicalVolume {
    pub name: String,
    /// In bytes. 0 is the rest of the group.
    pub size: u64,
    pub tags: Vec<String>,
    pub opts: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("it is not JSON")]
    Json(#[from] serde_json::Error),
    #[error("{place} is {found}: wanted {wanted}")]
    Wrong { place: String, found: String, wanted: &'static str },
    #[error("it has no storage: set metadata.instance.storage of the Hardware object")]
    Nothing,
}

/// A value and where it is, for messages.
struct At<'v> {
    value: &'v Value,
    place: String,
}

impl<'v> At<'v> {
    /// `null` and what is not there are the same, as in Go.
    fn get(&self, key: &str) -> Option<Self> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        Some(Self { value, place: format!("{}.{key}", self.place) })
    }

    fn wrong(&self, wanted: &'static str) -> StorageError {
        let found: String = self.value.to_string().chars().take(60).collect();
        StorageError::Wrong { place: self.place.clone(), found, wanted }
    }

    fn list(&self, key: &str) -> Result<Vec<Self>, StorageError> {
        let Some(list) = self.get(key) else { return Ok(Vec::new()) };
        let items = list.value.as_array().ok_or_else(|| list.wrong("a list"))?;
        if items.len() > ENTRIES_MAX {
            return Err(list.wrong("a list of at most 256 entries"));
        }
        Ok(items.iter().enumerate().map(|(index, value)| At { value, place: format!("{}[{index}]", list.place) }).collect())
    }

    fn text(&self, key: &str) -> Result<String, StorageError> {
        let Some(found) = self.get(key) else { return Ok(String::new()) };
        found.value.as_str().map(str::to_owned).ok_or_else(|| found.wrong("a text"))
    }

    fn required(&self, key: &'static str) -> Result<String, StorageError> {
        let text = self.text(key)?;
        if text.is_empty() { Err(self.wrong(key)) } else { Ok(text) }
    }

    fn number(&self, key: &str) -> Result<Option<u64>, StorageError> {
        let Some(found) = self.get(key) else { return Ok(None) };
        found.value.as_u64().map(Some).ok_or_else(|| found.wrong("a number that is not negative"))
    }

    fn flag(&self, key: &str) -> Result<bool, StorageError> {
        let Some(found) = self.get(key) else { return Ok(false) };
        found.value.as_bool().ok_or_else(|| found.wrong("true or false"))
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, StorageError> {
        let one = |item: At<'_>| item.value.as_str().map(str::to_owned).ok_or_else(|| item.wrong("a text"));
        self.list(key)?.into_iter().map(one).collect()
    }
}

impl Storage {
    /// Reads the answer of `/metadata`. Older services have no `instance` around the storage.
    ///
    /// # Errors
    /// What is not of that form, with its place.
    pub fn parse(document: &[u8]) -> Result<Self, StorageError> {
        let value: Value = serde_json::from_slice(document)?;
        let root = At { value: &value, place: String::new() };
        let metadata = root.get("metadata").ok_or(StorageError::Nothing)?;
        let storage = metadata.get("instance").and_then(|instance| instance.get("storage")).or_else(|| metadata.get("storage"));
        let storage = storage.ok_or(StorageError::Nothing)?;
        let found = Self {
            disks: storage.list("disks")?.iter().map(disk).collect::<Result<_, _>>()?,
            filesystems: storage.list("filesystems")?.iter().map(filesystem).collect::<Result<_, _>>()?,
            groups: storage.list("volume_groups")?.iter().map(group).collect::<Result<_, _>>()?,
        };
        if found == Self::default() { Err(StorageError::Nothing) } else { Ok(found) }
    }
}

fn disk(at: &At<'_>) -> Result<Disk, StorageError> {
    let partitions = at.list("partitions")?.iter().map(partition).collect::<Result<_, _>>()?;
    Ok(Disk { device: at.required("device")?, wipe_table: at.flag("wipe_table")?, partitions })
}

fn partition(at: &At<'_>) -> Result<Partition, StorageError> {
    Ok(Partition {
        label: at.text("label")?,
        number: at.number("number")?.unwrap_or(0),
        size: at.number("size")?.unwrap_or(0),
        start: at.number("start")?.filter(|start| *start > 0),
        type_guid: Some(at.text("type_guid")?).filter(|text| !text.is_empty()),
    })
}

fn filesystem(at: &At<'_>) -> Result<Filesystem, StorageError> {
    let mount = at.get("mount").ok_or_else(|| at.wrong("mount"))?;
    let options = mount.get("create").map_or(Ok(Vec::new()), |create| create.texts("options"))?;
    Ok(Filesystem { device: mount.required("device")?, format: mount.required("format")?, point: mount.text("point")?, options })
}

fn group(at: &At<'_>) -> Result<VolumeGroup, StorageError> {
    Ok(VolumeGroup {
        name: at.required("name")?,
        physical_volumes: at.texts("physical_volumes")?,
        tags: at.texts("tags")?,
        logical_volumes: at.list("logical_volumes")?.iter().map(volume).collect::<Result<_, _>>()?,
    })
}

fn volume(at: &At<'_>) -> Result<LogicalVolume, StorageError> {
    Ok(LogicalVolume {
        name: at.required("name")?,
        size: at.number("size")?.unwrap_or(0),
        tags: at.texts("tags")?,
        opts: at.texts("opts")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_of_the_metadata_service_is_read() {
        let document = r#"{"metadata":{"instance":{"storage":{"disks":[{"device":"/dev/sda","partitions":[{"label":"B<I>OS",
            "number":1,"size":4096}],"wipe_table":true},{"device":"/dev/sdb","partitions":null,"wipe_table":false}],
            "filesystems":[{"mount":{"create":{"options":["-L","ROOT"]},"device":"/dev/sda3","format":"ext4","point":"/"}}],
            "volume_groups":[{"name":"vg","physical_volumes":["/dev/sda4"],"logical_volumes":[{"name":"root","size":5}]}]}}}}"#;
        let storage = Storage::parse(document.as_bytes()).unwrap();
        assert_eq!(storage.disks[0].partitions[0].label, "B<I>OS");
        assert!(storage.disks[0].wipe_table && storage.disks[1].partitions.is_empty());
        assert_eq!(storage.filesystems[0].options, ["-L", "ROOT"]);
        assert_eq!(storage.groups[0].logical_volumes[0].size, 5);
        let older = r#"{"metadata":{"storage":{"disks":[{"device":"/dev/sdb"}]}}}"#;
        assert_eq!(Storage::parse(older.as_bytes()).unwrap().disks[0].device, "/dev/sdb");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (document, expected) in [
            ("<html>", "it is not JSON"),
            ("{}", "it has no storage"),
            (r#"{"metadata":{"instance":{"storage":{"disks":null,"filesystems":null}}}}"#, "it has no storage"),
            (r#"{"metadata":{"instance":{"storage":{"disks":{}}}}}"#, "storage.disks is {}: wanted a list"),
            (r#"{"metadata":{"instance":{"storage":{"disks":[{}]}}}}"#, "storage.disks[0] is {}: wanted device"),
            (
                r#"{"metadata":{"instance":{"storage":{"disks":[{"device":"/a","partitions":[{"size":-1}]}]}}}}"#,
                "disks[0].partitions[0].size is -1: wanted a number that is not negative",
            ),
        ] {
            let error = Storage::parse(document.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{document}: {error}");
        }
    }
}
