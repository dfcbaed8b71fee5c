"""The cities that ship: data files only, read by ``feeds.catalogue.vocabulary``; see docs/cities.md."""
