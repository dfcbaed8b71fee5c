"""The cities that ship: data files only, read by ``feeds.catalogue.city_files``; see docs/cities.md."""
