//! How ranks send values and errors to each other: bounded channels between threads.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};
use spillbench_schedule::{Message, Rank};

use crate::{EngineError, team::Team, workspace::Parcel};

/// One message: what it is, and its parcels (several, if they were kept).
type Envelope = (Message, Vec<Parcel>);

/// A rank's ends of the channels to its neighbours.
pub struct Endpoint {
    rank: Rank,
    to_previous: Option<Sender<Envelope>>,
    to_next: Option<Sender<Envelope>>,
    from_previous: Option<Receiver<Envelope>>,
    from_next: Option<Receiver<Envelope>>,
    bytes_sent: u64,
}

/// How often a blocked send or receive looks whether a rank has failed.
const VIGIL: Duration = Duration::from_millis(50);

/// Channels along a chain of `ranks`; each holds `capacity` messages.
pub fn chain(ranks: usize, capacity: usize) -> Vec<Endpoint> {
    let mut endpoints: Vec<Endpoint> = (0..ranks)
        .map(|rank| Endpoint {
            rank: Rank(rank as u16),
            to_previous: None,
            to_next: None,
            from_previous: None,
            from_next: None,
            bytes_sent: 0,
        })
        .collect();
    for left in 1..ranks {
        let (forward, from_left) = bounded(capacity);
        let (backward, from_right) = bounded(capacity);
        endpoints[left - 1].to_next = Some(forward);
        endpoints[left].from_previous = Some(from_left);
        endpoints[left].to_previous = Some(backward);
        endpoints[left - 1].from_next = Some(from_right);
    }
    endpoints
}

impl Endpoint {
    /// Sends parcels; waits while the channel is full.
    ///
    /// # Errors
    /// A rank failed.
    pub fn send(
        &mut self,
        team: &Team,
        to: Rank,
        message: Message,
        parcels: Vec<Parcel>,
    ) -> Result<(), EngineError> {
        self.bytes_sent += parcels.iter().map(|parcel| 4 * parcel.values.len() as u64).sum::<u64>();
        let channel = if to > self.rank { &self.to_next } else { &self.to_previous };
        let channel = channel.as_ref().expect("ranks send to neighbours only");
        let mut envelope = (message, parcels);
        loop {
            match channel.send_timeout(envelope, VIGIL) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(back)) if !team.has_failed() => envelope = back,
                Err(_) => return Err(EngineError::PeerFailed { rank: self.rank.0 }),
            }
        }
    }

    /// Receives parcels.
    ///
    /// # Errors
    /// A rank failed.
    ///
    /// # Panics
    /// If another message comes: a bug in the schedule.
    pub fn receive(&self, team: &Team, from: Rank, message: Message) -> Result<Vec<Parcel>, EngineError> {
        let channel = if from > self.rank { &self.from_next } else { &self.from_previous };
        let channel = channel.as_ref().expect("ranks receive from neighbours only");
        loop {
            match channel.recv_timeout(VIGIL) {
                Ok((arrived, parcels)) => {
                    assert_eq!(arrived, message, "rank {} got another message", self.rank.0);
                    return Ok(parcels);
                }
                Err(RecvTimeoutError::Timeout) if !team.has_failed() => {}
                Err(_) => return Err(EngineError::PeerFailed { rank: self.rank.0 }),
            }
        }
    }

    /// Bytes of values sent so far.
    pub const fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }
}
