//! The one column of Arrow data that holds the ids: whether it can, and its texts.

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, FixedSizeBinaryArray, LargeBinaryArray, LargeStringArray,
    StringArray, StringViewArray,
};
use arrow_schema::{DataType, Field};
use uuid::Uuid;

use crate::assignment::readings;

/// The canonical extension type of GUIDs, 16 bytes in network order
/// (<https://arrow.apache.org/docs/format/CanonicalExtensions.html#uuid>).
const UUID: &str = "arrow.uuid";

/// Why no ids are read out of data of this type.
pub enum Fault {
    /// It is bytes of this type, of which the error names the first.
    Bytes(String),
    /// Anything else: the text of the error.
    Other(String),
}

/// Whether ids can be in data of this type; said before anything is sent.
pub fn look(field: &Field) -> Result<(), Fault> {
    match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => Ok(()),
        DataType::FixedSizeBinary(16) if field.extension_type_name() == Some(UUID) => Ok(()),
        DataType::Dictionary(_, values) => {
            look(&Field::new("", (**values).clone(), true).with_metadata(field.metadata().clone()))
        }
        DataType::Struct(columns) => match &**columns {
            [column] => look(column),
            columns => {
                let names: Vec<_> = columns.iter().map(|column| column.name().as_str()).collect();
                Err(Fault::Other(format!(
                    "the Arrow data has {} columns ({}); select the one that holds the ids",
                    names.len(),
                    names.join(", ")
                )))
            }
        },
        kind @ (DataType::FixedSizeBinary(_)
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView) => Err(Fault::Bytes(kind.to_string())),
        other => Err(Fault::Other(format!(
            "the Arrow data is of type {other}; ids are strings, or of the type {UUID}"
        ))),
    }
}

/// The text of the error for data of bytes.
pub fn of_bytes(kind: &str, first: Option<&[u8]>) -> String {
    match first.and_then(readings) {
        Some(readings) => format!(
            "the Arrow data is of type {kind} without the extension type {UUID}, so the order of its bytes is not known: \
             the first value is {readings}; give a column of strings or of the type {UUID} (of 16 bytes in network order, \
             pyarrow makes one with column.cast(pyarrow.uuid()))"
        ),
        None => format!(
            "the Arrow data is of type {kind}, which is bytes; ids are strings, or of the type {UUID}: cast the column"
        ),
    }
}

/// The first value of data of bytes.
pub fn first_bytes(array: &ArrayRef) -> Option<Vec<u8>> {
    macro_rules! bytes {
        ($($kind:ty),*) => {
            $(if let Some(bytes) = array.as_any().downcast_ref::<$kind>() {
                return bytes.iter().flatten().next().map(<[u8]>::to_vec);
            })*
        };
    }
    bytes!(FixedSizeBinaryArray, BinaryArray, LargeBinaryArray, BinaryViewArray);
    if let Some(dictionary) = array.as_any_dictionary_opt() {
        return first_bytes(dictionary.values());
    }
    first_bytes(array.as_struct_opt()?.columns().first()?)
}

/// The texts of data of a type that was looked at, None where there is no value.
pub fn texts(array: &ArrayRef) -> Result<Vec<Option<String>>, String> {
    let texts = column_texts(array);
    if texts.len() != array.len() {
        return Err(format!("an array says that it has {} items and gave {}", array.len(), texts.len()));
    }
    Ok(texts)
}

fn column_texts(array: &ArrayRef) -> Vec<Option<String>> {
    macro_rules! strings {
        ($($kind:ty),*) => {
            $(if let Some(strings) = array.as_any().downcast_ref::<$kind>() {
                return strings.iter().map(|text| text.map(str::to_owned)).collect();
            })*
        };
    }
    strings!(StringArray, LargeStringArray, StringViewArray);
    // Without values, all keys are null, and arrow-array panics when asked for them.
    if let Some(dictionary) = array.as_any_dictionary_opt().filter(|it| !it.values().is_empty()) {
        let (keys, values) = (dictionary.keys(), column_texts(dictionary.values()));
        let places = dictionary.normalized_keys().into_iter().enumerate();
        return places.map(|(at, key)| values.get(key).filter(|_| keys.is_valid(at))?.clone()).collect();
    }
    if let Some(guids) = array.as_any().downcast_ref::<FixedSizeBinaryArray>() {
        let id = |bytes| Uuid::from_slice(bytes).ok().map(|id| id.to_string());
        return guids.iter().map(|bytes| bytes.and_then(id)).collect();
    }
    if let Some(rows) = array.as_struct_opt()
        && let [column] = rows.columns()
    {
        // A row that is null as a whole has no value, whatever its column holds at that place.
        let texts = column_texts(column).into_iter().enumerate();
        return texts.map(|(at, text)| text.filter(|_| rows.is_valid(at))).collect();
    }
    // Data of type null; all else is refused by `look`.
    vec![None; array.len()]
}
