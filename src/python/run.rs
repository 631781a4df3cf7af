//! A run as the drivers in Python see it: push, wait, take, stop, report.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList};

use super::interruption::Interruption;
use super::log::NativeLog;
use super::report::NativeReport;
use super::runtime::Visit;
use super::{convert, errors, runtime};
use crate::client::SharedClient;
use crate::log;
use crate::run::{Job, News, Run};
use crate::token::TokenSource;

/// End a run that nobody has got, and let go of its journal.
fn give_up(run: &Run) {
    run.stop("the run was interrupted before it began", Duration::ZERO);
    while !run.is_done() {
        run.wait(News { outcomes: false, room: false }, Duration::from_secs(1));
    }
}

/// A run under way.
#[pyclass(frozen, module = "entra_reprocess._native")]
pub struct NativeRun {
    pid: u32,
    /// Not dropped in a forked child, where another thread may have held its lock for ever.
    run: ManuallyDrop<Arc<Run>>,
    log: NativeLog,
    /// What was told when it had ended; told again where a Ctrl-C came before it was heard.
    ending: PyOnceLock<Ending>,
}

/// The report, why it stopped against the caller's wish, and the exception behind that.
type Ending = (Py<NativeReport>, Option<String>, Option<Py<PyAny>>);

impl NativeRun {
    /// Start a run.
    pub fn start(
        py: Python<'_>,
        client: SharedClient,
        source: Arc<dyn TokenSource>,
        job: Job,
    ) -> PyResult<Self> {
        let (handle, log) = (runtime::handle(py)?, NativeLog::new(py)?);
        let sink = log.sink();
        // Reading a large journal takes its time.
        let run = runtime::detached(py, || log::start(sink, || Run::start(&handle, client, source, job)))
            .map_err(|failure| errors::journal(py, &failure))?;
        // Python raises what was signalled meanwhile as soon as this returns, when nobody holds the run yet.
        py.check_signals().inspect_err(|_| runtime::detached(py, || give_up(&run)))?;
        Ok(Self::of(run, log))
    }

    /// The same as an `asyncio.Future`, so that the event loop goes on meanwhile.
    pub fn start_async<'py>(
        py: Python<'py>,
        client: SharedClient,
        source: Arc<dyn TokenSource>,
        job: Job,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (handle, log) = (runtime::handle(py)?, NativeLog::new(py)?);
        let sink = log.sink();
        runtime::future(py, runtime::locals(py)?, async move {
            let start = move || log::start(sink, || Run::start(&handle, client, source, job));
            let run = tokio::task::spawn_blocking(start).await;
            Python::attach(|py| match run {
                Ok(run) => {
                    let run = run.map_err(|failure| errors::journal(py, &failure))?;
                    Py::new(py, Self::of(run, log))
                }
                Err(_) => Err(PyRuntimeError::new_err("the interpreter shut down during the call")),
            })
        })
    }

    fn of(run: Run, log: NativeLog) -> Self {
        Self {
            pid: std::process::id(),
            run: ManuallyDrop::new(Arc::new(run)),
            log,
            ending: PyOnceLock::new(),
        }
    }

    fn run(&self) -> PyResult<&Arc<Run>> {
        if self.pid == std::process::id() { Ok(&self.run) } else { Err(errors::of_another_process()) }
    }
}

#[pymethods]
impl NativeRun {
    /// Give ids in. They are taken out of the list, so that an exception in between finds each in one place only.
    fn push(&self, ids: &Bound<'_, PyList>) -> PyResult<()> {
        let _visit = Visit::new(ids.py());
        let mut interruption = Interruption::default();
        let input: Vec<_> = ids.iter().map(|id| convert::assignment_id(&id, &mut interruption)).collect();
        self.run()?.push(input);
        ids.del_slice(0, ids.len())?;
        // Those beside it must not be lost.
        interruption.raise()
    }

    /// No more ids come.
    fn close_input(&self) -> PyResult<()> {
        self.run()?.close_input();
        Ok(())
    }

    /// How many more ids may be pushed now.
    fn room(&self) -> PyResult<usize> {
        Ok(self.run()?.room())
    }

    /// Go on with the ids of the journal; until then nothing of it is sent.
    fn resume(&self) -> PyResult<()> {
        self.run()?.resume();
        Ok(())
    }

    /// How many places of the input are known.
    fn places(&self) -> PyResult<u64> {
        Ok(self.run()?.places())
    }

    /// Whether the run has ended.
    fn is_done(&self) -> PyResult<bool> {
        Ok(self.run()?.is_done())
    }

    /// Wait, at most this many seconds, for the end, and if asked for, for outcomes or for room.
    fn wait(&self, py: Python<'_>, outcomes: bool, room: bool, seconds: f64) -> PyResult<()> {
        let run = self.run()?.clone();
        runtime::detached(py, || {
            run.wait(News { outcomes, room }, Duration::try_from_secs_f64(seconds).unwrap_or_default())
        });
        Ok(())
    }

    /// The same as an `asyncio.Future`, without a limit.
    fn wait_async<'py>(&self, py: Python<'py>, outcomes: bool, room: bool) -> PyResult<Bound<'py, PyAny>> {
        let run = self.run()?.clone();
        runtime::future(py, runtime::locals(py)?, async move {
            run.changed(News { outcomes, room }).await;
            Ok(Python::attach(|py| py.None()))
        })
    }

    /// Take the outcomes that wait.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let _visit = Visit::new(py);
        let outcomes = self.run()?.take();
        let objects: Vec<_> =
            outcomes.iter().map(|outcome| convert::outcome(py, outcome)).collect::<PyResult<_>>()?;
        PyList::new(py, objects)
    }

    /// `(done, counts, http_requests, retries, paused_seconds, pause_left)`
    fn progress<'py>(&self, py: Python<'py>) -> PyResult<(u64, Bound<'py, PyDict>, u64, u64, f64, f64)> {
        let progress = self.run()?.progress();
        Ok((
            progress.counts.total(),
            convert::counts(py, &progress.counts)?,
            progress.stats.http_requests,
            progress.stats.retries,
            progress.stats.paused.as_secs_f64(),
            progress.pause_left.as_secs_f64(),
        ))
    }

    /// What the caller should be told by now, each once.
    fn warnings(&self) -> PyResult<Vec<String>> {
        Ok(self.run()?.warnings())
    }

    /// Log what happened since the last time.
    fn log(&self, py: Python<'_>) -> PyResult<()> {
        self.run()?;
        self.log.flush(py)
    }

    /// Send nothing more; what is under way may take this many seconds.
    fn stop(&self, why: &str, grace: f64) -> PyResult<()> {
        self.run()?.stop(why, Duration::try_from_secs_f64(grace).unwrap_or_default());
        Ok(())
    }

    /// `(report, why it stopped against the caller's wish, the exception behind it)`, when the run has ended.
    fn finish(&self, py: Python<'_>) -> PyResult<Ending> {
        let _visit = Visit::new(py);
        let run = self.run()?;
        let (report, why, cause) = self.ending.get_or_try_init(py, || {
            let finished = run.finish();
            let why =
                finished.stop.as_ref().filter(|cause| !cause.is_expected()).map(crate::run::StopCause::text);
            let cause = finished.stop.as_ref().and_then(|cause| errors::stop_cause(py, cause));
            let cause = cause.map(|cause| cause.into_value(py).into_any());
            Ok::<_, PyErr>((Py::new(py, NativeReport::of(finished))?, why, cause))
        })?;
        Ok((report.clone_ref(py), why.clone(), cause.as_ref().map(|cause| cause.clone_ref(py))))
    }
}

impl Drop for NativeRun {
    #[expect(unsafe_code, reason = "ManuallyDrop has no safe way to drop")]
    fn drop(&mut self) {
        if self.pid == std::process::id() {
            // SAFETY: this is the only place that drops it, and `self` is not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.run) }
        }
    }
}
