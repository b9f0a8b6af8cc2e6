//! Any bytes as a DMAR table.

use vtd_fuzzing::dmar_table;

#[test]
fn any_bytes_have_an_answer() {
    bolero::check!().with_max_len(256).with_iterations(20_000).for_each(dmar_table::check);
}
