// A folder the table of floors does not know.
