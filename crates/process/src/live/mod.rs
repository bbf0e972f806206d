//! Live counters: a page that an executor or a flow writes ten times a second, on request, and that
//! other processes read, also after its writer has died.
//!
//! | file | contents |
//! | --- | --- |
//! | `status` | what a page says |
//! | `page` | the page itself: a named segment, a file, or both; how it is written and read |
//! | `publisher` | the thread that writes it |

mod page;
mod publisher;
mod status;

#[doc(hidden)]
pub use page::page_or_not;
pub use page::{PageError, Reading, WriterState, list, read_file, read_segment, remove};
pub use publisher::{Publication, Publisher};
pub use status::{Gauge, Kind, Queue, Status, Totals, Waiting, WorkerStatus, WorkerWork};
