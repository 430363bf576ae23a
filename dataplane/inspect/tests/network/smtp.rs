//! A small mail server and a small mail client, as talkers.

use super::host::Talk;

/// A server that takes everything and writes down what it was told.
#[derive(Debug, Default)]
pub struct Server {
    greeted: bool,
    line: Vec<u8>,
    in_data: bool,
    /// Octets missing of the chunk under way, and whether it is the last.
    chunk: Option<(usize, bool)>,
    message: Vec<u8>,
    quit: bool,
    /// EHLO keywords it offers.
    pub extensions: Vec<&'static str>,
    /// Command lines, without CRLF.
    pub commands: Vec<String>,
    /// Messages whose end of data came.
    pub messages: Vec<Vec<u8>>,
}

impl Server {
    pub fn offering(extensions: &[&'static str]) -> Self {
        Self { extensions: extensions.to_vec(), ..Self::default() }
    }

    fn command(&mut self) -> Vec<u8> {
        let line = String::from_utf8_lossy(&self.line).trim_end_matches(['\r', '\n']).to_string();
        self.line.clear();
        let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        self.commands.push(line);
        let reply = match verb.as_str() {
            "HELO" | "MAIL" | "RCPT" | "NOOP" | "RSET" => "250 2.0.0 fine\r\n".to_string(),
            "EHLO" => {
                let mut reply = String::from("250-mx.example.test\r\n");
                for extension in &self.extensions {
                    reply += &format!("250-{extension}\r\n");
                }
                reply + "250 HELP\r\n"
            }
            "DATA" => {
                self.in_data = true;
                "354 go ahead\r\n".into()
            }
            "BDAT" => {
                let line = self.commands.last().map_or("", String::as_str);
                let mut words = line.split(' ').skip(1);
                let len = words.next().and_then(|size| size.parse().ok()).unwrap_or(0);
                self.chunk = Some((len, words.next().is_some()));
                return self.chunked();
            }
            "STARTTLS" => "220 go on\r\n".into(),
            "QUIT" => {
                self.quit = true;
                "221 bye\r\n".into()
            }
            _ => "500 5.5.2 command not recognized\r\n".into(),
        };
        reply.into_bytes()
    }
}

impl Server {
    /// What is said once a chunk is complete.
    fn chunked(&mut self) -> Vec<u8> {
        let Some((0, last)) = self.chunk else { return Vec::new() };
        self.chunk = None;
        if last {
            self.messages.push(std::mem::take(&mut self.message));
        }
        b"250 2.0.0 chunk taken\r\n".to_vec()
    }
}

impl Talk for Server {
    fn receive(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.greeted {
            self.greeted = true;
            out.extend_from_slice(b"220 mx.example.test ESMTP\r\n");
        }
        for byte in bytes {
            if let Some((left, _)) = &mut self.chunk {
                *left -= 1;
                self.message.push(*byte);
                out.extend(self.chunked());
                continue;
            }
            if self.in_data {
                self.message.push(*byte);
                if self.message.ends_with(b"\r\n.\r\n") || self.message == b".\r\n" {
                    self.in_data = false;
                    self.messages.push(std::mem::take(&mut self.message));
                    out.extend_from_slice(b"250 2.0.0 queued\r\n");
                }
                continue;
            }
            self.line.push(*byte);
            if *byte == b'\n' {
                out.extend(self.command());
            }
        }
        out
    }

    fn done(&self) -> bool {
        self.quit
    }

    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

/// A client that sends each step when the final line of the reply to the one before has come.
#[derive(Debug, Default)]
pub struct Client {
    steps: std::collections::VecDeque<(usize, Vec<u8>)>,
    line: Vec<u8>,
    waiting: usize,
    /// Final reply lines, without CRLF.
    pub replies: Vec<String>,
    /// Every reply line.
    pub lines: Vec<String>,
    last_sent: bool,
}

impl Client {
    /// Steps: octets to send, and how many replies they will draw.
    pub fn new(steps: impl IntoIterator<Item = (Vec<u8>, usize)>) -> Self {
        let mut client = Self { waiting: 1, ..Self::default() };
        for (bytes, replies) in steps {
            client.steps.push_back((replies, bytes));
        }
        client
    }

    /// A whole session with one mail in chunks of this many octets; all in one flight, or each reply waited for.
    pub fn chunks(mail: &[u8], size: usize, one_flight: bool) -> Self {
        let mut steps = vec![(b"EHLO client.example\r\n".to_vec(), 1)];
        steps.push((b"MAIL FROM:<a@example.com>\r\n".to_vec(), 1));
        steps.push((b"RCPT TO:<b@example.org>\r\n".to_vec(), 1));
        let count = mail.len().div_ceil(size);
        for (index, chunk) in mail.chunks(size).enumerate() {
            let last = if index + 1 == count { " LAST" } else { "" };
            let line = format!("BDAT {}{last}\r\n", chunk.len()).into_bytes();
            steps.push(([line, chunk.to_vec()].concat(), 1));
        }
        steps.push((b"QUIT\r\n".to_vec(), 1));
        if one_flight {
            let flight = steps.split_off(1);
            steps.push((flight.iter().flat_map(|step| step.0.clone()).collect(), flight.len()));
        }
        Self::new(steps)
    }

    /// A whole session with one mail.
    pub fn mail(hello: &str, from: &str, to: &str, body: &[u8]) -> Self {
        let mut content = body.to_vec();
        content.extend_from_slice(b"\r\n.\r\n");
        Self::new([
            (format!("{hello}\r\n").into_bytes(), 1),
            (format!("MAIL FROM:<{from}>\r\n").into_bytes(), 1),
            (format!("RCPT TO:<{to}>\r\n").into_bytes(), 1),
            (b"DATA\r\n".to_vec(), 1),
            (content, 1),
            (b"QUIT\r\n".to_vec(), 1),
        ])
    }
}

impl Client {
    /// The same behind a STARTTLS after which only the first octets look like TLS: the server finds them odd and goes on.
    pub fn opaque_mail(hello: &str, from: &str, to: &str, body: &[u8]) -> Self {
        let mut client = Self::mail(hello, from, to, body);
        client.steps.insert(1, (1, b"STARTTLS\r\n".to_vec()));
        client.steps.insert(2, (1, b"\x16\x03\x01\x00\x02\x01\x00\r\n".to_vec()));
        client
    }
}

impl Talk for Client {
    fn receive(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for byte in bytes {
            self.line.push(*byte);
            if *byte != b'\n' {
                continue;
            }
            let line = String::from_utf8_lossy(&self.line).trim_end().to_string();
            self.line.clear();
            let last = line.as_bytes().get(3) != Some(&b'-');
            self.lines.push(line.clone());
            if !last {
                continue;
            }
            self.replies.push(line);
            self.waiting = self.waiting.saturating_sub(1);
            if self.waiting == 0 {
                match self.steps.pop_front() {
                    Some((replies, bytes)) => {
                        self.waiting = replies;
                        out.extend(bytes);
                    }
                    None => self.last_sent = true,
                }
            }
        }
        out
    }

    fn done(&self) -> bool {
        self.last_sent
    }

    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}
