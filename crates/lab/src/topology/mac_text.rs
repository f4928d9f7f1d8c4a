//! MAC addresses as text in records and topology files; for serde's `with`.

use nsrouter_wire::eth::MacAddr;
use serde::{Deserialize, Deserializer, Serializer, de};

pub(crate) fn serialize<S: Serializer>(mac: &MacAddr, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(mac)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MacAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|error| de::Error::custom(format!("`{text}` is {error}")))
}

/// The same for an address that may be absent, together with `default` and `skip_serializing_if`.
pub(crate) mod option {
    use nsrouter_wire::eth::MacAddr;
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(mac: &Option<MacAddr>, serializer: S) -> Result<S::Ok, S::Error> {
        match mac {
            Some(mac) => super::serialize(mac, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<MacAddr>, D::Error> {
        super::deserialize(deserializer).map(Some)
    }
}
