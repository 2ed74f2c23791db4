"""A list of cases in a CSV file: their states, who reads them, and how people share it; see `worklist`."""
