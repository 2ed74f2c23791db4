"""UniSeg: eleven tasks in CT, MR and PET/CT."""
