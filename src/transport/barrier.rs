//! Has the runtime take notice of all that has come on kept connections, before a request goes out on one.
//!
//! hyper ends an idle connection as soon as it sees bytes on it that nobody has asked for, such as a second answer to
//! the request before. But it sees what the runtime has told it, and a busy runtime may have yet to ask the system: then
//! those bytes would be taken for the answer to the next request.

/// Comes back when all that had come on any connection of this runtime was noticed.
///
/// What waits in the kernel is reported in the order in which it came, so this lets a byte of its own come and waits for
/// that. It takes some tens of microseconds.
#[cfg(unix)]
pub(super) async fn pass() {
    // Without file descriptors to spare, the request itself will fail for the same reason, or go out as it would without.
    let _ = wait().await;
}

#[cfg(unix)]
async fn wait() -> std::io::Result<()> {
    use std::io::Write;
    let (mut here, there) = std::os::unix::net::UnixStream::pair()?;
    there.set_nonblocking(true)?;
    here.write_all(&[0])?;
    tokio::net::UnixStream::from_std(there)?.readable().await
}

/// The same where the order is not promised: the runtime asks the system once more.
#[cfg(not(unix))]
pub(super) async fn pass() {
    tokio::task::yield_now().await;
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    /// What the kernel has by then is there, however busy the runtime was.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_has_come_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut server = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        server.set_nodelay(true).unwrap();
        let client = listener.accept().unwrap().0;
        client.set_nonblocking(true).unwrap();
        let client = tokio::net::TcpStream::from_std(client).unwrap();
        let busy: Vec<_> = (0..4)
            .map(|_| {
                tokio::spawn(async {
                    loop {
                        std::hint::black_box((0..2_000).sum::<u64>());
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for _ in 0..200 {
            server.write_all(b"x").unwrap();
            // Over loopback it is in the other side's buffer when the write returns.
            pass().await;
            assert_eq!(client.try_read(&mut [0; 8]).unwrap(), 1, "it was noticed");
            assert!(client.try_read(&mut [0; 8]).is_err());
        }
        busy.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
