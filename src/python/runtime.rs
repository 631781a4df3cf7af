//! The tokio runtime of this process, and how Python waits for what runs on it.
//!
//! Futures on a global runtime crash at interpreter exit, so this one is shut down by an `atexit` hook; a runtime
//! does not survive a fork, so it is keyed by process id, and a stale one is leaked, never dropped.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError, mpsc};
use std::task::{Context, Poll};
use std::thread::ThreadId;
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3_async_runtimes::TaskLocals;
use pyo3_async_runtimes::generic::{ContextExt, JoinError, Runtime, future_into_py_with_locals};
use tokio::runtime::Handle;

use super::log::NativeLog;
use crate::log;

/// How often a waiting call looks for Ctrl-C.
const TICK: Duration = Duration::from_millis(100);
/// How long interpreter exit waits for threads that are inside a credential.
const EXIT_PATIENCE: Duration = Duration::from_secs(2);

enum Slot {
    Empty,
    Running(u32, tokio::runtime::Runtime),
    Ended,
}

/// Locked only while attached to the interpreter and never across a detach, so that a fork, which needs the
/// interpreter too, cannot catch another thread holding it.
static SLOT: Mutex<Slot> = Mutex::new(Slot::Empty);

/// The runtime of this process, started at the first call.
pub fn handle(_py: Python<'_>) -> PyResult<Handle> {
    let mut slot = SLOT.lock().unwrap_or_else(PoisonError::into_inner);
    let pid = std::process::id();
    match &*slot {
        Slot::Running(owner, runtime) if *owner == pid => return Ok(runtime.handle().clone()),
        Slot::Ended => return Err(PyRuntimeError::new_err("the interpreter is shutting down")),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("entra-reprocess")
        .enable_all()
        .build()
        .map_err(|err| PyRuntimeError::new_err(format!("cannot start the runtime's threads: {err}")))?;
    let handle = runtime.handle().clone();
    // The runtime of a parent process has no threads here; dropping it would wait for them for ever.
    std::mem::forget(std::mem::replace(&mut *slot, Slot::Running(pid, runtime)));
    Ok(handle)
}

/// End the runtime; registered with `atexit`.
///
/// Only daemon threads are left by then. Python ends them as soon as they ask for the interpreter again, and that
/// crashes the process where Rust is on their stack. So those that are in a call of ours are waited for, and those that
/// wait or call later are held for ever, which is what becomes of daemon threads anyway.
#[pyfunction]
pub fn shut_down(py: Python<'_>) {
    *LEAVING.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::thread::current().id());
    let slot = std::mem::replace(&mut *SLOT.lock().unwrap_or_else(PoisonError::into_inner), Slot::Ended);
    match slot {
        Slot::Running(owner, runtime) if owner == std::process::id() => {
            py.detach(|| runtime.shutdown_timeout(EXIT_PATIENCE));
        }
        stale => std::mem::forget(stale),
    }
    let patience = std::time::Instant::now() + EXIT_PATIENCE;
    while Visit::others(py) > 0 && std::time::Instant::now() < patience {
        py.detach(|| std::thread::sleep(Duration::from_millis(1)));
    }
}

/// The thread that ends the interpreter, once that has begun.
static LEAVING: Mutex<Option<ThreadId>> = Mutex::new(None);

/// Hold this thread for ever if the interpreter is going; to be called while detached.
fn stay_if_leaving() {
    let leaving = *LEAVING.lock().unwrap_or_else(PoisonError::into_inner);
    if leaving.is_some_and(|thread| thread != std::thread::current().id()) {
        loop {
            std::thread::park();
        }
    }
}

/// Wait without holding the interpreter, which may be gone afterwards.
pub fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    py.detach(|| {
        let result = work();
        stay_if_leaving();
        result
    })
}

/// A call that runs Python code from Rust, such as making an `Outcome`.
pub struct Visit(());

/// How many there are, and in which process: a fork leaves the other threads behind. Locked as `SLOT` is.
static VISITS: Mutex<(u32, usize)> = Mutex::new((0, 0));

impl Visit {
    /// From here on, the interpreter does not go until this is dropped.
    pub fn new(py: Python<'_>) -> Self {
        if LEAVING.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            py.detach(stay_if_leaving);
        }
        let mut visits = VISITS.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = std::process::id();
        *visits = (pid, if visits.0 == pid { visits.1 + 1 } else { 1 });
        Self(())
    }

    fn others(_py: Python<'_>) -> usize {
        let visits = VISITS.lock().unwrap_or_else(PoisonError::into_inner);
        if visits.0 == std::process::id() { visits.1 } else { 0 }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut visits = VISITS.lock().unwrap_or_else(PoisonError::into_inner);
        visits.1 = visits.1.saturating_sub(1);
    }
}

/// Wait for a future without holding the interpreter, and log what it tells. Ctrl-C drops the future and is raised.
///
/// The future runs on the runtime's threads, not on this one, so this works inside a running event loop too.
pub fn wait<T: Send + 'static>(
    py: Python<'_>,
    log: &NativeLog,
    future: impl Future<Output = T> + Send + 'static,
) -> PyResult<T> {
    let (sender, mut receiver) = mpsc::sync_channel(1);
    let future = log::to(log.sink(), future);
    let task = handle(py)?.spawn(async move {
        // Nobody may be listening any more, after a Ctrl-C.
        let _ = sender.send(future.await);
    });
    loop {
        let (received, back) = detached(py, move || (receiver.recv_timeout(TICK), receiver));
        receiver = back;
        log.flush(py).inspect_err(|_| task.abort())?;
        match received {
            Ok(value) => return Ok(value),
            Err(mpsc::RecvTimeoutError::Timeout) => py.check_signals().inspect_err(|_| task.abort())?,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err("the interpreter shut down during the call"));
            }
        }
    }
}

/// The event loop and context of the running coroutine.
pub fn locals(py: Python<'_>) -> PyResult<TaskLocals> {
    let running = TaskLocals::with_running_loop(py).map_err(|err| {
        let told = PyRuntimeError::new_err(
            "AsyncClient needs a running asyncio event loop, and there is none in this thread; trio and curio are not \
             supported: use Client in a thread (trio.to_thread.run_sync), or anyio with the asyncio backend",
        );
        told.set_cause(py, Some(err));
        told
    })?;
    running.copy_context(py)
}

/// The same for a call that logs: on the event loop, before whoever awaits it goes on.
pub fn logged_future<'py, T>(
    py: Python<'py>,
    work: impl Future<Output = PyResult<T>> + Send + 'static,
) -> PyResult<Bound<'py, PyAny>>
where
    T: for<'a> IntoPyObject<'a> + Send + 'static,
{
    let log = NativeLog::new(py)?;
    let future = future(py, locals(py)?, log::to(log.sink(), work))?;
    future.call_method1("add_done_callback", (log,))?;
    Ok(future)
}

/// An `asyncio.Future` for a Rust future; cancelling the one drops the other.
pub fn future<'py, T>(
    py: Python<'py>,
    locals: TaskLocals,
    future: impl Future<Output = PyResult<T>> + Send + 'static,
) -> PyResult<Bound<'py, PyAny>>
where
    T: for<'a> IntoPyObject<'a> + Send + 'static,
{
    // Started here, where an error can still be raised; `spawn` below has no way to.
    handle(py)?;
    future_into_py_with_locals::<Own, _, T>(py, locals, future)
}

/// Our runtime, as pyo3-async-runtimes wants to see it.
struct Own;

tokio::task_local! {
    static LOCALS: TaskLocals;
}

impl Runtime for Own {
    type JoinError = OwnJoinError;
    type JoinHandle = OwnJoinHandle;

    fn spawn<F: Future<Output = ()> + Send + 'static>(future: F) -> OwnJoinHandle {
        OwnJoinHandle(Python::attach(handle).ok().map(|handle| handle.spawn(future)))
    }

    fn spawn_blocking<F: FnOnce() + Send + 'static>(work: F) -> OwnJoinHandle {
        OwnJoinHandle(Python::attach(handle).ok().map(|handle| handle.spawn_blocking(work)))
    }
}

impl ContextExt for Own {
    fn scope<F, R>(locals: TaskLocals, future: F) -> Pin<Box<dyn Future<Output = R> + Send>>
    where
        F: Future<Output = R> + Send + 'static,
    {
        Box::pin(LOCALS.scope(locals, future))
    }

    fn get_task_locals() -> Option<TaskLocals> {
        LOCALS.try_with(Clone::clone).ok()
    }
}

/// A task of ours; `None` where the runtime had ended already.
struct OwnJoinHandle(Option<tokio::task::JoinHandle<()>>);

impl Future for OwnJoinHandle {
    type Output = Result<(), OwnJoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Some(task) => Pin::new(task).poll(context).map_err(OwnJoinError),
            None => Poll::Ready(Ok(())),
        }
    }
}

struct OwnJoinError(tokio::task::JoinError);

impl JoinError for OwnJoinError {
    fn is_panic(&self) -> bool {
        self.0.is_panic()
    }

    fn into_panic(self) -> Box<dyn std::any::Any + Send> {
        self.0.into_panic()
    }
}
