"""Files of the invented sample city `shili` 示例市: places, agencies, notices, residents; data only, read by the catalogue and the demo."""
