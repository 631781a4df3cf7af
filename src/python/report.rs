//! The columns behind `entra_reprocess.Report`, or a selection of their rows.

use std::fs::File;
use std::io::{self, BufWriter};
use std::sync::{Arc, OnceLock};

use pyo3::exceptions::{PyIndexError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use super::runtime::Visit;
use super::{convert, errors};
use crate::outcome::Status;
use crate::run::Finished;
use crate::run::columns::Columns;
use crate::run::columns::lookup::Lookup;
use crate::run::journal;
use crate::run::source::Source;

/// Outcomes by place.
#[pyclass(frozen, module = "entra_reprocess._native")]
pub struct NativeReport {
    columns: Arc<Columns>,
    /// The rows of a selection; `None` for all places of the input.
    selected: Option<Vec<u32>>,
    figures: Figures,
    /// Where each id stands, once somebody has asked. Made without letting go of the interpreter, so that no fork can
    /// come in between.
    lookup: OnceLock<Lookup>,
}

/// The run as a whole: elapsed seconds, HTTP requests, retries, seconds paused.
type Figures = (f64, u64, u64, f64);

impl NativeReport {
    /// All outcomes of a finished run.
    pub fn of(finished: Finished) -> Self {
        let stats = finished.stats;
        let figures =
            (finished.elapsed.as_secs_f64(), stats.http_requests, stats.retries, stats.paused.as_secs_f64());
        Self::new(Arc::new(finished.columns), None, figures)
    }

    fn rows(&self) -> &[u32] {
        self.selected.as_deref().unwrap_or_else(|| self.columns.places())
    }

    fn with(&self, rows: Vec<u32>) -> Self {
        Self::new(self.columns.clone(), Some(rows), self.figures)
    }

    fn new(columns: Arc<Columns>, selected: Option<Vec<u32>>, figures: Figures) -> Self {
        Self { columns, selected, figures, lookup: OnceLock::new() }
    }
}

#[pymethods]
impl NativeReport {
    /// What a journal says by now.
    #[staticmethod]
    fn from_journal(py: Python<'_>, path: &Bound<'_, PyAny>) -> PyResult<Self> {
        let path = convert::path(path)?;
        let past = py.detach(|| journal::load(&path)).map_err(|failure| errors::journal(py, &failure))?;
        Ok(Self::new(Arc::new(past.columns), None, past.figures))
    }

    /// What `to_bytes` has written.
    #[staticmethod]
    fn from_bytes(bytes: &[u8]) -> PyResult<Self> {
        let (columns, selected, figures) = postcard::from_bytes(bytes)
            .map_err(|_| PyValueError::new_err("these bytes are no report of this version"))?;
        Ok(Self::new(Arc::new(columns), selected, figures))
    }

    /// For pickle; only the same version reads it.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = postcard::to_allocvec(&(&*self.columns, &self.selected, &self.figures))
            .map_err(|err| PyValueError::new_err(format!("the report cannot be packed: {err}")))?;
        Ok(PyBytes::new(py, &bytes))
    }

    fn __len__(&self) -> usize {
        self.rows().len()
    }

    /// The outcome at a place, from 0.
    fn at<'py>(&self, py: Python<'py>, place: usize) -> PyResult<Bound<'py, PyAny>> {
        let row = self.rows().get(place).ok_or_else(|| PyIndexError::new_err("report index out of range"))?;
        convert::outcome(py, &self.columns.outcome(*row))
    }

    /// The first place from `start` up to `end` of an id as given, None if it is not there.
    fn find(&self, id: &Bound<'_, PyAny>, start: usize, end: usize) -> Option<usize> {
        let rows = self.rows();
        let lookup = self.lookup.get_or_init(|| Lookup::of(&self.columns, rows));
        let end = end.min(rows.len());
        self.columns.place_of(rows, lookup, &convert::assignment_id(id), start.min(end)..end)
    }

    /// How many places are of an id as given.
    fn count_of(&self, id: &Bound<'_, PyAny>) -> usize {
        self.columns.count_of(self.rows(), &convert::assignment_id(id))
    }

    /// Whether it is a selection, and not all of the run.
    fn is_part(&self) -> bool {
        self.selected.is_some()
    }

    /// The outcomes from a place on, at most `count` of them.
    fn chunk<'py>(&self, py: Python<'py>, start: usize, count: usize) -> PyResult<Bound<'py, PyList>> {
        let _visit = Visit::new(py);
        let rows = self.rows().iter().skip(start).take(count);
        let objects: Vec<_> =
            rows.map(|row| convert::outcome(py, &self.columns.outcome(*row))).collect::<PyResult<_>>()?;
        PyList::new(py, objects)
    }

    /// Every `step`th place from `start`, `count` of them, as a slice has it.
    fn slice(&self, start: isize, step: isize, count: usize) -> Self {
        let places = (0..count).map_while(|n| start.checked_add(step.checked_mul(isize::try_from(n).ok()?)?));
        let rows = places.filter_map(|place| self.rows().get(usize::try_from(place).ok()?).copied());
        self.with(rows.collect())
    }

    /// The places that were accepted, or those that were not.
    fn select(&self, accepted: bool) -> Self {
        let is_wanted = |row: &u32| (self.columns.status(*row) == Status::Accepted) == accepted;
        self.with(self.rows().iter().copied().filter(is_wanted).collect())
    }

    /// How many places ended in each way.
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        convert::counts(py, &self.columns.counts(self.rows()))
    }

    /// How many of them ended so in a run before the one that makes the report.
    fn earlier(&self) -> u64 {
        self.columns.counts_from(self.rows(), Source::EarlierRun).total()
    }

    /// How many of them a run is still to settle, by what is known of them so far.
    fn under_way<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        convert::counts(py, &self.columns.counts_from(self.rows(), Source::UnderWay))
    }

    /// The id of each place.
    fn ids<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let ids: Vec<_> = self.rows().iter().map(|row| self.columns.id(*row).to_string()).collect();
        PyList::new(py, ids)
    }

    /// `(elapsed, http_requests, retries, paused_seconds)` of the whole run.
    fn figures(&self) -> Figures {
        self.figures
    }

    /// Write a CSV file, UTF-8 with a header line.
    fn write_csv(&self, py: Python<'_>, path: &Bound<'_, PyAny>) -> PyResult<()> {
        let path = convert::path(path)?;
        let written = py.detach(|| {
            let file = File::create(&path)?;
            self.columns.write_csv(self.rows(), BufWriter::new(file))
        });
        // With number and name, as open() raises it.
        written.map_err(|err: io::Error| match err.raw_os_error() {
            Some(number) => PyOSError::new_err((number, err.to_string(), path)),
            None => PyOSError::new_err(err.to_string()),
        })
    }
}
