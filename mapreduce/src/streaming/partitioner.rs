//! The partitioner of a streaming job.

use anyhow::{Result, bail};

use super::key_order::decode;
use super::settings::Settings;
use crate::conf::Conf;
use crate::partition::{HashPartitioner, KeyFieldPartitioner, KeySampler, Partitioner};
use crate::record::Text;

/// Which partitioner, by its property.
const PARTITIONER: &str = "mapreduce.job.partitioner.class";

/// By a hash of the key, or of some of its fields.
#[derive(Debug, Clone, Default)]
pub(super) struct StreamPartitioner {
    /// What `-partitioner` says.
    class: Option<String>,
    /// Whether keys are the numbers of an identity mapper.
    numbered: bool,
    by_fields: Option<KeyFieldPartitioner>,
    ordered: bool,
}

impl StreamPartitioner {
    pub(super) fn new(class: Option<String>, numbered: bool) -> Self {
        Self { class, numbered, ..Self::default() }
    }

    fn read(&mut self, conf: &Conf) -> Result<()> {
        let class = self.class.as_deref().or(conf.get(PARTITIONER)).unwrap_or_default();
        self.by_fields = match class.rsplit('.').next().unwrap_or_default() {
            "" | "HashPartitioner" => None,
            "KeyFieldBasedPartitioner" => Some(KeyFieldPartitioner::read(conf)?),
            _ => bail!(
                "there is no partitioner {class}; there are HashPartitioner and \
                 KeyFieldBasedPartitioner"
            ),
        };
        self.ordered = Settings::read(conf, self.numbered)?.order.is_some();
        Ok(())
    }
}

impl Partitioner<Text> for StreamPartitioner {
    fn partition(&self, key: &[u8], _: &[u8], partitions: u32) -> u32 {
        // A key that can't be read is refused where it is used.
        let key = if self.ordered { decode(key).unwrap_or(key) } else { key };
        match &self.by_fields {
            Some(by_fields) => by_fields.choose(key, partitions),
            None => Partitioner::<Text>::partition(&HashPartitioner, key, key, partitions),
        }
    }

    /// Refuses a job whose properties make no sense.
    fn plan(&self, _: &mut KeySampler<'_>, conf: &mut Conf, _: u32) -> Result<()> {
        self.clone().read(conf)
    }

    fn configure(&mut self, conf: &Conf, _: u32) -> Result<()> {
        self.read(conf)
    }
}
