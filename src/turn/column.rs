use crate::config::limits::KEPT_PLACES;

/// Gives back what a table has beyond its entries, once many have gone: a table that is less than a
/// quarter full, and larger than [`KEPT_PLACES`]. Growing doubles, so this is paid for by growing.
pub(crate) fn give_back<T>(table: &mut Vec<T>) {
    if is_oversized(table.capacity(), table.len()) {
        table.shrink_to(KEPT_PLACES.max(2 * table.len()));
    }
}

/// The same, for a column over the slab's keys: its vacant end goes first.
pub(crate) fn give_back_end<T>(column: &mut Vec<T>, is_vacant: impl Fn(&T) -> bool) {
    if is_oversized(column.capacity(), 0) {
        let used = column.iter().rposition(|entry| !is_vacant(entry));
        column.truncate(used.map_or(0, |last| last + 1));
        give_back(column);
    }
}

/// Whether a table of this capacity is too large for so many entries.
pub(crate) fn is_oversized(capacity: usize, entries: usize) -> bool {
    capacity > KEPT_PLACES.max(4 * entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shrinks_when_it_is_less_than_a_quarter_full() {
        let mut table = vec![0u8; 16 * KEPT_PLACES];
        table.truncate(4 * KEPT_PLACES);
        give_back(&mut table);
        assert_eq!(table.capacity(), 16 * KEPT_PLACES, "a quarter is enough");
        table.truncate(4 * KEPT_PLACES - 1);
        give_back(&mut table);
        let kept = 8 * KEPT_PLACES - 2..9 * KEPT_PLACES;
        assert!(kept.contains(&table.capacity()), "there is room to grow");
        table.clear();
        give_back(&mut table);
        assert!(table.capacity() <= KEPT_PLACES);
    }

    #[test]
    fn a_column_keeps_its_last_entry() {
        let mut column = vec![None; 8 * KEPT_PLACES];
        column[5] = Some(5);
        give_back_end(&mut column, Option::is_none);
        assert_eq!((column.len(), column[5]), (6, Some(5)));
        assert!(column.capacity() <= KEPT_PLACES);
    }
}
