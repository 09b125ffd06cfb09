"""What `conf.py` is made of: programs, links, the members of classes, inventories of other projects."""
