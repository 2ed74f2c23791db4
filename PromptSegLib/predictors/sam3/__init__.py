"""SAM 3: its tracker, which takes clicks and boxes and follows structures, and its detector, which takes words."""
