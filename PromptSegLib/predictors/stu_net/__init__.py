"""STU-Net: 104 structures in CT."""
