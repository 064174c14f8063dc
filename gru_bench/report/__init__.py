"""What the sections of a report are made with: the view of the results, tables, figures, markdown."""
