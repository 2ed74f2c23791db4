"""The winner of autoPET 2022: lesions in PET/CT."""
