//! The network between the daemons: every IP packet is held for the delay between its two hosts.
//!
//! All hosts send into one TUN device; packets come back out of it when they are due. Packets are
//! counted by host, direction and purpose.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    net::Ipv4Addr,
    os::fd::AsFd as _,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

/// Ports of the daemons, the same on every host.
pub(crate) const CONTROL_PORT: u16 = 7410;
pub(crate) const DATA_PORT: u16 = 7411;
/// Longest packet.
const MTU: usize = 1_500;
/// Lateness is kept up to this many packets.
const LATENESS: usize = 1 << 22;

/// What a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// The chain's JSON-RPC.
    Rpc,
    /// libp2p over TCP.
    Tcp,
    /// libp2p over QUIC.
    Quic,
    /// iroh.
    Data,
    Other,
}

impl Class {
    pub(crate) const ALL: [(Self, &'static str); 5] = [
        (Self::Rpc, "chain RPC"),
        (Self::Tcp, "control, TCP"),
        (Self::Quic, "control, QUIC"),
        (Self::Data, "data"),
        (Self::Other, "other"),
    ];
}

/// Packets and bytes (IP headers and all) of one host, one class, one direction.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

#[derive(Debug, Default)]
struct Cell {
    packets: AtomicU64,
    bytes: AtomicU64,
}

/// Of each host, what it sent and received by class.
pub(crate) type Counts = Vec<[[Count; 2]; 5]>;

/// Hosts by number: 0 is the chain, the others are the nodes in order.
pub(crate) fn address(host: usize) -> Ipv4Addr {
    let [high, low] = u16::try_from(host + 1).expect("a few hundred hosts").to_be_bytes();
    Ipv4Addr::new(10, 77, high, low)
}

fn host(address: &[u8]) -> Option<usize> {
    match *address {
        [10, 77, high, low] => usize::from(u16::from_be_bytes([high, low])).checked_sub(1),
        _ => None,
    }
}

type Due = Reverse<(Instant, u64, Vec<u8>)>;

/// The router; it ends with the process.
#[derive(Debug)]
pub(crate) struct Router {
    cells: Vec<[[Cell; 2]; 5]>,
    delays: Vec<Duration>,
    queue: Mutex<BinaryHeap<Due>>,
    news: Condvar,
    late: Mutex<Vec<u32>>,
}

impl Router {
    /// Starts to route between hosts with the one-way delays that a function gives.
    pub(crate) fn start(
        tun: File,
        hosts: usize,
        delay: impl Fn(usize, usize) -> Duration,
    ) -> io::Result<Arc<Self>> {
        let pairs = (0..hosts).flat_map(|from| (0..hosts).map(move |to| (from, to)));
        let router = Arc::new(Self {
            cells: (0..hosts).map(|_| Default::default()).collect(),
            delays: pairs.map(|(from, to)| delay(from, to)).collect(),
            queue: Mutex::default(),
            news: Condvar::new(),
            late: Mutex::default(),
        });
        let (reader, writer) = (Arc::clone(&router), Arc::clone(&router));
        let out = tun.try_clone()?;
        thread::Builder::new().name("router-in".to_owned()).spawn(move || reader.read(tun))?;
        thread::Builder::new().name("router-out".to_owned()).spawn(move || writer.write(out))?;
        Ok(router)
    }

    fn read(&self, mut tun: File) {
        let mut buffer = [0; MTU];
        let mut number = 0;
        while let Ok(length) = tun.read(&mut buffer) {
            let now = Instant::now();
            let packet = &buffer[..length];
            let Some((from, to, class)) = self.classify(packet) else { continue };
            self.count(from, class, 0, length);
            let due = now + self.delays[from * self.cells.len() + to];
            number += 1;
            lock(&self.queue).push(Reverse((due, number, packet.to_vec())));
            self.news.notify_one();
        }
    }

    fn write(&self, mut tun: File) {
        let mut queue = lock(&self.queue);
        loop {
            let now = Instant::now();
            let wait = match queue.peek() {
                Some(Reverse((due, _, _))) if *due <= now => {
                    let Some(Reverse((due, _, packet))) = queue.pop() else { continue };
                    drop(queue);
                    self.hand_out(&mut tun, &packet, now - due);
                    queue = lock(&self.queue);
                    continue;
                }
                Some(Reverse((due, _, _))) => *due - now,
                None => Duration::from_secs(1),
            };
            let waited = self.news.wait_timeout(queue, wait);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn hand_out(&self, tun: &mut File, packet: &[u8], late: Duration) {
        // A host that is gone does not take it, as in a network.
        if tun.write_all(packet).is_ok()
            && let Some((_, to, class)) = self.classify(packet)
        {
            self.count(to, class, 1, packet.len());
        }
        let mut all = lock(&self.late);
        if all.len() < LATENESS {
            all.push(u32::try_from(late.as_micros()).unwrap_or(u32::MAX));
        }
    }

    fn count(&self, host: usize, class: Class, direction: usize, length: usize) {
        let cell = &self.cells[host][class as usize][direction];
        cell.packets.fetch_add(1, Ordering::Relaxed);
        cell.bytes.fetch_add(length as u64, Ordering::Relaxed);
    }

    /// From whom to whom, and what for; `None` for what is not ours, like IPv6.
    fn classify(&self, packet: &[u8]) -> Option<(usize, usize, Class)> {
        let (from, to) = (host(packet.get(12..16)?)?, host(packet.get(16..20)?)?);
        if from >= self.cells.len() || to >= self.cells.len() {
            return None;
        }
        let header = usize::from(packet[0] & 15) * 4;
        let ports = packet.get(header..header + 4);
        let has = |port: u16| {
            ports.is_some_and(|p| p[..2] == port.to_be_bytes() || p[2..] == port.to_be_bytes())
        };
        let class = match packet[9] {
            _ if from == 0 || to == 0 => Class::Rpc,
            17 if has(DATA_PORT) => Class::Data,
            17 if has(CONTROL_PORT) => Class::Quic,
            6 => Class::Tcp,
            _ => Class::Other,
        };
        Some((from, to, class))
    }

    /// What was counted so far.
    pub(crate) fn counts(&self) -> Counts {
        let count = |cell: &Cell| Count {
            packets: cell.packets.load(Ordering::Relaxed),
            bytes: cell.bytes.load(Ordering::Relaxed),
        };
        self.cells.iter().map(|of| of.each_ref().map(|c| c.each_ref().map(count))).collect()
    }

    /// How late the packets since the last call were handed out, in order, in microseconds.
    pub(crate) fn take_lateness(&self) -> Vec<u32> {
        let mut late = std::mem::take(&mut *lock(&self.late));
        late.sort_unstable();
        late
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens a new TUN device in the network namespace of this process.
pub(crate) fn open_tun(name: &str) -> io::Result<File> {
    /// `TUNSETIFF` of linux/if_tun.h.
    const SET: Opcode = opcode::write::<i32>(b'T', 202);
    /// `IFF_TUN | IFF_NO_PI`.
    const FLAGS: u16 = 0x1001;
    let tun = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    // `struct ifreq`: the name in 16 bytes, the flags in two, and what is not used here.
    let mut request = [0u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    request[16..18].copy_from_slice(&FLAGS.to_ne_bytes());
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which is 40 bytes long.
    #[expect(unsafe_code, reason = "no safe call makes a TUN device")]
    unsafe {
        ioctl(tun.as_fd(), Updater::<SET, [u8; 40]>::new(&mut request))?;
    }
    Ok(tun)
}
