//! Messages between a predecessor and its successor.
//!
//! ```text
//!   {"body":12,"descriptors":1,"message":{...}}\n  <12 bytes>
//!   ^ the descriptors travel with this byte (SCM_RIGHTS)
//! ```
//!
//! One connection is one message with one descriptor. More at a time would save
//! some system calls, but the kernel bounds how many may be under way, and so
//! the socket's own buffer keeps them few.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use bytes::{Buf as _, Bytes, BytesMut};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg, sockopt::socket_peercred,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{io::Interest, net::UnixStream};

/// Longest line.
const LINE_MAX: usize = 1 << 20;
/// Longest body: the largest request, and all that may wait to be sent.
const BODY_MAX: u64 = 2 << 30;
/// Descriptors that can come with one read.
const DESCRIPTORS_MAX: usize = 64;

/// One end of the conversation.
pub(super) struct Channel {
    stream: UnixStream,
    inbox: BytesMut,
    descriptors: VecDeque<OwnedFd>,
}

/// What came.
pub(super) struct Received<M> {
    pub(super) message: M,
    pub(super) body: Bytes,
    pub(super) descriptors: Vec<OwnedFd>,
}

#[derive(Serialize, Deserialize)]
struct Envelope<M> {
    body: u64,
    descriptors: usize,
    message: M,
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl Channel {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            inbox: BytesMut::new(),
            descriptors: VecDeque::new(),
        }
    }

    /// Whether the other end runs as the same user, or as root.
    ///
    /// # Errors
    /// The system does not tell.
    pub(super) fn is_trusted(&self) -> io::Result<bool> {
        let peer = socket_peercred(&self.stream)?.uid;
        Ok(peer.is_root() || peer == rustix::process::geteuid())
    }

    pub(super) async fn send(
        &mut self,
        message: &impl Serialize,
        body: &[&[u8]],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let length: usize = body.iter().map(|part| part.len()).sum();
        let mut line = serde_json::to_vec(&Envelope {
            body: length as u64,
            descriptors: descriptors.len(),
            message,
        })?;
        line.push(b'\n');
        let mut sent = self.send_some(&line, descriptors).await?;
        while sent < line.len() {
            sent += self.send_some(&line[sent..], &[]).await?;
        }
        for part in body {
            let mut rest = *part;
            while !rest.is_empty() {
                let sent = self.send_some(rest, &[]).await?;
                rest = &rest[sent..];
            }
        }
        Ok(())
    }

    async fn send_some(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.stream
            .async_io(Interest::WRITABLE, || {
                let mut space =
                    [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if !descriptors.is_empty()
                    && !control.push(SendAncillaryMessage::ScmRights(descriptors))
                {
                    return Err(invalid("too many descriptors for one message"));
                }
                let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                Ok(sendmsg(
                    self.stream.as_fd(),
                    &[IoSlice::new(bytes)],
                    &mut control,
                    flags,
                )?)
            })
            .await
    }

    /// The next message; `UnexpectedEof` if the other end is gone.
    pub(super) async fn receive<M: DeserializeOwned>(&mut self) -> io::Result<Received<M>> {
        let end = loop {
            if let Some(end) = memchr::memchr(b'\n', &self.inbox) {
                break end;
            }
            if self.inbox.len() > LINE_MAX {
                return Err(invalid("a message without end"));
            }
            self.fill().await?;
        };
        let line = self.inbox.split_to(end);
        self.inbox.advance(1);
        let envelope: Envelope<M> = serde_json::from_slice(&line)?;
        if envelope.body > BODY_MAX || envelope.descriptors > DESCRIPTORS_MAX {
            return Err(invalid("a message that is too large"));
        }
        let length = usize::try_from(envelope.body).map_err(|_| invalid("too large"))?;
        while self.inbox.len() < length {
            self.fill().await?;
        }
        let body = self.inbox.split_to(length).freeze();
        if self.descriptors.len() < envelope.descriptors {
            return Err(invalid("descriptors were lost on the way"));
        }
        Ok(Received {
            message: envelope.message,
            body,
            descriptors: self.descriptors.drain(..envelope.descriptors).collect(),
        })
    }

    async fn fill(&mut self) -> io::Result<()> {
        let Self {
            stream,
            inbox,
            descriptors,
        } = self;
        let mut bytes = vec![0; 64 << 10];
        let count = stream
            .async_io(Interest::READABLE, || {
                let mut space =
                    [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
                let mut control = RecvAncillaryBuffer::new(&mut space);
                let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
                let received = recvmsg(
                    stream.as_fd(),
                    &mut [IoSliceMut::new(&mut bytes)],
                    &mut control,
                    flags,
                )?;
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(came) = message {
                        descriptors.extend(came);
                    }
                }
                Ok(received.bytes)
            })
            .await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        inbox.extend_from_slice(&bytes[..count]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[tokio::test]
    async fn messages_bring_their_bytes_and_descriptors() {
        let (left, right) = UnixStream::pair().unwrap();
        let (mut left, mut right) = (Channel::new(left), Channel::new(right));
        assert!(left.is_trusted().unwrap());
        let large = vec![b'x'; 3 << 20];
        let sending = async {
            for nth in 0..300 {
                let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
                ours.write_all(&[nth as u8]).unwrap();
                let body: &[&[u8]] = if nth == 7 { &[b"head ", &large] } else { &[] };
                left.send(&nth, body, &[theirs.as_fd()]).await.unwrap();
            }
            drop(left);
        };
        let receiving = async {
            for nth in 0..300 {
                let received = right.receive::<u32>().await.unwrap();
                assert_eq!(received.message, nth);
                let length = if nth == 7 { 5 + large.len() } else { 0 };
                assert_eq!(received.body.len(), length);
                let [descriptor] = <[OwnedFd; 1]>::try_from(received.descriptors).unwrap();
                let mut theirs = std::os::unix::net::UnixStream::from(descriptor);
                let mut byte = [0];
                theirs.read_exact(&mut byte).unwrap();
                assert_eq!(u32::from(byte[0]), nth & 0xff);
            }
            let end = right.receive::<u32>().await.err().unwrap();
            assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
        };
        tokio::join!(sending, receiving);
    }
}
