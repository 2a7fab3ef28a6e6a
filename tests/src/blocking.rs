//! A third runtime, as an example: blocking sockets of the standard library and plain threads. It
//! is the shortest way to a runtime, not to a fast one; `docs/RUNTIMES.md` goes through this file.
//!
//! Each thing that can be waited for has a thread that waits: one for each listener and datagram
//! socket, one that reads and one that writes for each connection. What they learn goes as `News`
//! through one channel to the session's thread, which owns the engine and waits for nothing else.
//! The channel is bounded: a reader that is faster than the engine waits, and its socket's window
//! fills. A socket that is shut down ends the calls (on Linux) that block on it. No multicast here.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bitswarm_core::action::{Close, SocketKind, SocketSpec};
use bitswarm_core::event::{Datagram, NetError};
use bitswarm_core::{Action, ConnId, Event, Instant, Segments, SocketId};
use bitswarm_runtime_common::{Client, ClientConfig, Host, Notices, StartError, Wake, launch, net};
use bytes::BytesMut;
use socket2::{SockRef, Socket};

/// News on their way to the engine, and heard in one turn (chosen). Past it, who brings some waits.
const NEWS: usize = 32;

/// Bytes read or gathered at once (chosen; no datagram is longer).
const CHUNK: usize = 64 * 1024;

/// How long a closed connection sends what is left, and accepting rests when it fails (chosen).
const LINGER: Duration = Duration::from_secs(3);
const REST: Duration = Duration::from_millis(250);

/// Starts a session.
pub fn start(config: &ClientConfig) -> Result<(Client, Notices), StartError> {
    let (teller, news) = mpsc::sync_channel(NEWS);
    let wake = Arc::new(Teller(teller.clone()));
    launch(config, wake, |host| {
        let (connections, sockets) = (BTreeMap::new(), BTreeMap::new());
        let (lingering, threads, pending) = (VecDeque::new(), Vec::new(), VecDeque::new());
        Session { host, teller, news, connections, sockets, lingering, threads, pending }.run();
    })
}

/// What the session's thread hears from the others.
enum News {
    Wake,
    Accepted(SocketId, Socket, SocketAddr),
    Connection(ConnId, Event),
    Datagram(SocketId, SocketAddr, BytesMut),
}

struct Teller(SyncSender<News>);

impl Wake for Teller {
    fn wake(&self) {
        // When the channel is full, the loop is awake.
        let _ = self.0.try_send(News::Wake);
    }
}

/// The session's thread: the engine, and everyone's other ends.
struct Session {
    host: Host,
    teller: SyncSender<News>,
    news: Receiver<News>,
    connections: BTreeMap<ConnId, Connection>,
    sockets: BTreeMap<SocketId, Arc<Waiting>>,
    /// Closed connections that still send, and until when; the oldest first.
    lingering: VecDeque<(Instant, Weak<Link>)>,
    threads: Vec<JoinHandle<()>>,
    pending: VecDeque<Event>,
}

struct Connection {
    link: Arc<Link>,
    /// To the thread that writes. It ends when this is dropped.
    writer: Sender<Segments>,
    /// `Action::Send` waits for the writer to be done.
    wants_to_send: bool,
    /// Bytes that the writer was given and has not reported.
    unsent: usize,
}

/// A listener or datagram socket.
struct Waiting {
    socket: Socket,
    ended: AtomicBool,
}

/// What the threads of a connection share with the loop.
struct Link {
    stream: TcpStream,
    reading: Mutex<Reading>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    On,
    Off,
    /// The engine has closed the connection: it is read only so that it ends in order.
    Discard,
}

impl Session {
    fn run(mut self) {
        self.perform_actions();
        while !self.host.is_finished() {
            // Before the turn begins: what a wake stands for is taken after the wake.
            let news = self.wait();
            self.host.begin_turn();
            while self.host.handle_next_input() {
                self.perform_actions();
            }
            if self.host.handle_timeout() {
                self.perform_actions();
            }
            while self.lingering.front().is_some_and(|(until, _)| *until <= self.host.now()) {
                let cut_off = self.lingering.pop_front().and_then(|(_, link)| link.upgrade());
                cut_off.inspect(|link| link.shut_down());
            }
            for one in news {
                self.host.refresh_now();
                self.hear(one);
            }
        }
        self.end();
    }

    /// Waits for news, or until the engine or a lingering connection wants to be looked after.
    fn wait(&mut self) -> Vec<News> {
        let lingering = self.lingering.front().map(|(until, _)| *until);
        let deadline = [self.host.poll_timeout(), lingering].into_iter().flatten().min();
        let first = match deadline {
            None => self.news.recv().ok(),
            Some(deadline) => self.news.recv_timeout(deadline - self.host.refresh_now()).ok(),
        };
        first.into_iter().chain(self.news.try_iter().take(NEWS)).collect()
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Wake => {}
            News::Accepted(socket, stream, from) => {
                if let Some(conn) = self.host.accept(socket, from) {
                    net::prepare_stream(SockRef::from(&stream));
                    self.open(conn, Ok(stream), None);
                }
            }
            News::Datagram(socket, remote, data) => {
                let one = Datagram { remote, local: None, received: self.host.now(), data };
                self.host.handle(Event::Datagrams { socket, batch: vec![one] });
            }
            News::Connection(conn, event) => {
                // What was under way when the engine closed the connection is not told any more.
                let Some(connection) = self.connections.get_mut(&conn) else { return };
                match &event {
                    Event::Sent { bytes, .. } => connection.unsent -= bytes,
                    Event::Closed { .. } => drop(self.connections.remove(&conn)),
                    _ => {}
                }
                self.host.handle(event);
                self.gather(conn);
            }
        }
        self.perform_actions();
    }

    /// Gives the writer of a connection something to do, if it has nothing and bytes wait.
    fn gather(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if connection.unsent > 0 || !std::mem::take(&mut connection.wants_to_send) {
            return;
        }
        let mut out = Segments::new();
        self.host.gather(conn, CHUNK, &mut out);
        connection.unsent = out.len();
        // A writer that has failed is gone; the reader tells.
        let _ = connection.writer.send(out);
    }

    fn perform_actions(&mut self) {
        loop {
            while let Some(action) = self.host.poll_action() {
                self.perform(action);
            }
            let Some(event) = self.pending.pop_front() else { return };
            self.host.handle(event);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Bind { socket, spec } => {
                let result = self.bind(socket, spec).map_err(|error| net::net_error(&error));
                self.pending.push_back(Event::Bound { socket, result });
            }
            Action::Unbind { socket } => drop(self.sockets.remove(&socket).inspect(|it| it.end())),
            Action::Connect { conn, to, from } => {
                self.open(conn, net::stream_to(to, from.as_deref()), Some(to));
            }
            Action::Secure { conn, .. } => self.failed(conn, NetError::Tls),
            Action::Send { conn } => {
                if let Some(connection) = self.connections.get_mut(&conn) {
                    connection.wants_to_send = true;
                    self.gather(conn);
                }
            }
            Action::Read { conn, on } => {
                let reading = if on { Reading::On } else { Reading::Off };
                self.connections.get(&conn).inspect(|connection| connection.link.read(reading));
            }
            Action::Close { conn, how } => self.close(conn, how),
            Action::SendDatagrams { socket } => {
                let Some(waiting) = self.sockets.get(&socket) else { return };
                let mut data = BytesMut::new();
                // One in a call. One that cannot be sent is lost, as it might be on the way.
                while let Some(transmit) = self.host.gather_datagrams(socket, 1, &mut data) {
                    let _ = waiting.socket.send_to(&data.split(), &transmit.destination.into());
                }
            }
            Action::Disk { op, request } => self.pending.extend(self.host.disk(op, request)),
            Action::Resolve { op, host, via } => self.host.resolve(op, host, via),
            Action::Notify(notice) => self.host.notify(&notice),
        }
    }

    fn bind(&mut self, id: SocketId, spec: SocketSpec) -> io::Result<SocketAddr> {
        let socket = net::bind(&spec)?;
        socket.set_nonblocking(false)?;
        let addr = net::local_addr(&SockRef::from(&socket))?;
        let waiting = Arc::new(Waiting { socket, ended: AtomicBool::new(false) });
        let (waits, teller) = (Arc::clone(&waiting), self.teller.clone());
        match spec.kind {
            SocketKind::TcpListener => self.spawn("accept", move || waits.accept(id, &teller)),
            SocketKind::Udp => self.spawn("receive", move || waits.receive(id, &teller)),
            SocketKind::Multicast => Err(io::ErrorKind::Unsupported.into()),
        }?;
        self.sockets.insert(id, waiting);
        Ok(addr)
    }

    /// Starts the threads of a connection, which is to be opened first if it is `to` somewhere.
    fn open(&mut self, conn: ConnId, stream: io::Result<Socket>, to: Option<SocketAddr>) {
        let started = stream.and_then(|stream| {
            let reading = Mutex::new(Reading::On);
            let link = Arc::new(Link { stream: stream.into(), reading, changed: Condvar::new() });
            let (writer, gathered) = mpsc::channel();
            let (writes, teller) = (Arc::clone(&link), self.teller.clone());
            self.spawn("write", move || writes.write_all(conn, &gathered, &teller))?;
            let (reads, teller) = (Arc::clone(&link), self.teller.clone());
            self.spawn("read", move || reads.open_and_read(conn, to, &teller))?;
            Ok(Connection { link, writer, wants_to_send: false, unsent: 0 })
        });
        match started {
            Ok(connection) => drop(self.connections.insert(conn, connection)),
            Err(error) => self.failed(conn, net::net_error(&error)),
        }
    }

    fn failed(&mut self, conn: ConnId, why: NetError) {
        self.close(conn, Close::Abort);
        self.pending.push_back(Event::Closed { conn, why: Some(why) });
    }

    fn close(&mut self, conn: ConnId, how: Close) {
        if how == Close::Flush {
            self.gather(conn);
        }
        let Some(connection) = self.connections.remove(&conn) else { return };
        connection.link.read(Reading::Discard);
        if how == Close::Abort {
            return connection.link.shut_down();
        }
        self.lingering.push_back((self.host.now() + LINGER, Arc::downgrade(&connection.link)));
    }

    /// Ends every thread and waits for it.
    fn end(self) {
        let Session { host, news, connections, sockets, lingering, threads, .. } = self;
        // Those who still have something to tell do not wait any longer.
        drop(news);
        connections.values().for_each(|connection| connection.link.shut_down());
        lingering.iter().filter_map(|(_, link)| link.upgrade()).for_each(|link| link.shut_down());
        sockets.values().for_each(|waiting| waiting.end());
        drop(connections);
        threads.into_iter().for_each(|thread| drop(thread.join()));
        host.finish();
    }

    fn spawn(&mut self, what: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.retain(|thread| !thread.is_finished());
        self.threads.push(thread::Builder::new().name(format!("bitswarm-{what}")).spawn(run)?);
        Ok(())
    }
}

impl Link {
    /// The thread that reads.
    fn open_and_read(&self, conn: ConnId, to: Option<SocketAddr>, teller: &SyncSender<News>) {
        let tell = |event| drop(teller.send(News::Connection(conn, event)));
        let opened = to.map_or(Ok(()), |to| {
            SockRef::from(&self.stream).connect(&to.into())?;
            tell(Event::Connected { conn, local: self.stream.local_addr()? });
            Ok(())
        });
        let ended =
            opened.and_then(|()| self.read_all(|data| tell(Event::Received { conn, data })));
        tell(Event::Closed { conn, why: ended.err().map(|error| net::net_error(&error)) });
    }

    fn read_all(&self, tell: impl Fn(BytesMut)) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let reading = self.wait_until_reading();
            match (&self.stream).read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(_) if reading == Reading::Discard => {}
                Ok(count) => tell(BytesMut::from(&buffer[..count])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The thread that writes. When there will be no more to write, the peer is told.
    fn write_all(&self, conn: ConnId, gathered: &Receiver<Segments>, teller: &SyncSender<News>) {
        let tell = |bytes| drop(teller.send(News::Connection(conn, Event::Sent { conn, bytes })));
        while let Ok(mut out) = gathered.recv() {
            while !out.is_empty() {
                // Two blocks a call: what the peer has taken is to be told soon.
                let mut slices = [IoSlice::new(&[]); 4];
                let used = out.slices(&mut slices);
                match (&self.stream).write_vectored(&slices[..used]) {
                    Ok(count) => {
                        out.advance(count);
                        tell(count);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // The reader reads what is left, and tells.
                    Err(_) => return self.shut_down(),
                }
            }
        }
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    fn read(&self, reading: Reading) {
        let mut current = self.reading.lock().expect("nobody panics with it");
        if *current != Reading::Discard {
            *current = reading;
            self.changed.notify_all();
        }
    }

    fn wait_until_reading(&self) -> Reading {
        let reading = self.reading.lock().expect("nobody panics with it");
        let is_off = |reading: &mut Reading| *reading == Reading::Off;
        *self.changed.wait_while(reading, is_off).expect("nobody panics with it")
    }

    /// Ends both threads, whatever they wait for.
    fn shut_down(&self) {
        self.read(Reading::On);
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Waiting {
    /// The thread of a listener.
    fn accept(&self, id: SocketId, teller: &SyncSender<News>) {
        while !self.ended.load(Ordering::Relaxed) {
            match self.socket.accept().map(|(socket, from)| (socket, from.as_socket())) {
                Ok((socket, Some(from))) => drop(teller.send(News::Accepted(id, socket, from))),
                _ => thread::sleep(REST),
            }
        }
    }

    /// The thread of a datagram socket.
    fn receive(&self, id: SocketId, teller: &SyncSender<News>) {
        let Ok(socket) = self.socket.try_clone().map(UdpSocket::from) else { return };
        let mut buffer = vec![0; CHUNK];
        while !self.ended.load(Ordering::Relaxed) {
            // An error is news of an earlier datagram and not of the socket.
            if let Ok((count, remote)) = socket.recv_from(&mut buffer) {
                let data = BytesMut::from(&buffer[..count]);
                let _ = teller.send(News::Datagram(id, remote, data));
            }
        }
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}
