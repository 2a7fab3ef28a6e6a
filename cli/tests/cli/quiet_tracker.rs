//! A tracker that hears and does not answer: HTTP and UDP on one port, written from BEP 3 and BEP 15.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// What it heard, one announce after the other: the event, or nothing where there is none.
pub(crate) struct QuietTracker {
    port: u16,
    heard: Receiver<String>,
}

impl QuietTracker {
    pub(crate) fn start() -> Self {
        let (tell, heard) = mpsc::channel();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let socket = UdpSocket::bind(("127.0.0.1", port)).unwrap();
        let tell_udp = tell.clone();
        thread::spawn(move || {
            // Connections stay open until the tracker ends, or the other side closes them.
            for stream in listener.incoming().flatten() {
                let tell = tell.clone();
                thread::spawn(move || hear_http(stream, &tell));
            }
        });
        thread::spawn(move || hear_udp(&socket, &tell_udp));
        QuietTracker { port, heard }
    }

    pub(crate) fn http(&self) -> String {
        format!("http://127.0.0.1:{}/announce", self.port)
    }

    pub(crate) fn udp(&self) -> String {
        format!("udp://127.0.0.1:{}", self.port)
    }

    /// The next announce's event.
    #[track_caller]
    pub(crate) fn next(&self) -> String {
        self.heard.recv_timeout(Duration::from_secs(20)).expect("an announce")
    }

    /// Nothing was heard that was not taken.
    #[track_caller]
    pub(crate) fn heard_nothing(&self) {
        let heard = self.heard.recv_timeout(Duration::from_millis(200));
        assert_eq!(heard, Err(RecvTimeoutError::Timeout));
    }
}

fn hear_http(mut stream: TcpStream, tell: &Sender<String>) {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        request.extend_from_slice(&chunk[..count]);
        if request.windows(4).any(|end| end == b"\r\n\r\n") {
            let text = String::from_utf8(request.split_off(0)).unwrap();
            let query = text.split_whitespace().nth(1).unwrap();
            let event = query.split(['?', '&']).find_map(|part| part.strip_prefix("event="));
            let _ = tell.send(event.unwrap_or_default().to_owned());
        }
    }
}

/// Gives out connection ids, or nobody would announce; announces are not answered.
fn hear_udp(socket: &UdpSocket, tell: &Sender<String>) {
    let mut packet = [0; 2048];
    while let Ok((count, from)) = socket.recv_from(&mut packet) {
        match &packet[..count] {
            connect if count == 16 => {
                // Action 0, the transaction, a connection id.
                let answer = [&[0; 4][..], &connect[12..16], &[7; 8]].concat();
                let _ = socket.send_to(&answer, from);
            }
            announce if count >= 98 && announce[8..12] == [0, 0, 0, 1] => {
                let event = ["", "completed", "started", "stopped"][usize::from(announce[83])];
                let _ = tell.send(event.to_owned());
            }
            _ => {}
        }
    }
}
