"""Programs for other libraries, run by an interpreter that has these."""
