"""Files of the invented sample city `shili` 示例市; data only, read by the catalogue and the demo."""
