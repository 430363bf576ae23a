//! What a gateway is built on: sockets on two interfaces, or whatever a test puts in their place.

use std::io;

use inspect::frame::Memory;

use crate::board::{KernelCounts, PortFacts};
use crate::port::xdp::{self, Classification};
use crate::port::{Losses, Port};
use crate::worker::Place;

/// What a gateway is built on: it has a seat for each worker and looks after its ports.
pub trait Backend {
    /// Memory of the frames.
    type Memory: Memory;
    /// Its ports.
    type Port: Port<Self::Memory>;
    /// A worker's place; goes to the worker's thread.
    type Seat: Send + 'static;

    /// The place of a worker, once.
    fn take_seat(&mut self, worker: usize) -> Option<Self::Seat>;
    /// The worker's frames and ports.
    fn sit(seat: Self::Seat) -> Place<Self::Memory, Self::Port>;
    /// What an administrator should know of the start.
    fn notices(&self) -> Vec<String>;
    /// Looks after the ports, about once a second, and says what changed.
    fn tend(&mut self) -> Vec<String>;
    /// What the ports turned out to be.
    fn ports(&self) -> [PortFacts; 2];
    /// Makes the kernel judge by another policy.
    ///
    /// # Errors
    /// When the kernel refuses; then the one before holds.
    fn set_policy(&mut self, policy: &Classification) -> io::Result<()>;
    /// What the kernel's part did with frames.
    fn kernel(&self) -> [KernelCounts; 2];
    /// What the kernel lost of each worker's frames at the two ports.
    fn losses(&self) -> Vec<[Losses; 2]>;
    /// Frames and octets of the classes that the kernel decides for, by row of [`crate::edition::Editions::tops`], of which
    /// there are `count`. The kernel counts the first 255.
    fn kernel_classes(&self, count: usize) -> Vec<[u64; 2]>;
}

impl Backend for xdp::Gateway {
    type Memory = xdp::UmemMemory;
    type Port = xdp::XdpPort;
    type Seat = xdp::Seat;

    fn take_seat(&mut self, worker: usize) -> Option<xdp::Seat> {
        xdp::Gateway::take_seat(self, worker)
    }

    fn sit(seat: xdp::Seat) -> Place<xdp::UmemMemory, xdp::XdpPort> {
        seat.open()
    }

    fn notices(&self) -> Vec<String> {
        xdp::Gateway::notices(self).iter().map(|notice| notice.text.clone()).collect()
    }

    fn tend(&mut self) -> Vec<String> {
        xdp::Gateway::tend(self).into_iter().map(|notice| notice.text).collect()
    }

    fn ports(&self) -> [PortFacts; 2] {
        xdp::Gateway::ports(self).map(|info| PortFacts {
            mode: info.mode.map(|mode| match mode {
                xdp::Mode::Native => "native",
                xdp::Mode::Skb => "skb",
            }),
            zero_copy: info.zero_copy,
            mtu: info.mtu,
            driver: info.driver.clone(),
        })
    }

    fn set_policy(&mut self, policy: &Classification) -> io::Result<()> {
        xdp::Gateway::set_policy(self, policy)
    }

    fn kernel(&self) -> [KernelCounts; 2] {
        let rows = |counts: &xdp::Counts| {
            counts.rows().map(|(fate, count)| (fate_label(fate), count.frames, count.bytes)).collect()
        };
        self.statistics().map_or_else(|_| Default::default(), |counts| counts.each_ref().map(rows))
    }

    fn losses(&self) -> Vec<[Losses; 2]> {
        xdp::Gateway::losses(self)
    }

    fn kernel_classes(&self, count: usize) -> Vec<[u64; 2]> {
        let last = u8::try_from(count).unwrap_or(u8::MAX);
        let counts = self.class_counts(last).unwrap_or_default();
        counts.iter().map(|count| [count.frames, count.bytes]).collect()
    }
}

/// The label of a fate in metrics.
fn fate_label(fate: xdp::Fate) -> &'static str {
    match fate {
        xdp::Fate::Inspected => "inspected",
        xdp::Fate::Bridged => "bridged",
        xdp::Fate::BridgedUninspected => "bridged_uninspected",
        xdp::Fate::DroppedPolicy => "dropped_policy",
        xdp::Fate::DroppedNoWorker => "dropped_no_worker",
        xdp::Fate::DroppedNoPort => "dropped_no_port",
        xdp::Fate::DroppedMalformed => "dropped_malformed",
        xdp::Fate::DroppedVlan => "dropped_vlan",
        xdp::Fate::DroppedEncapsulated => "dropped_encapsulated",
        xdp::Fate::DroppedExtensions => "dropped_extensions",
        xdp::Fate::DroppedJumbogram => "dropped_jumbogram",
    }
}
