"""VoxTell: free text to masks, by its authors' own package."""
