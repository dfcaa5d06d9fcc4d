# From doxygen's own order of things (doxygen -l) to ours: topics begin with what they are about, not with
# lists of what is in them.
/<group>/,/<\/group>/ {
    /<detaileddescription/d
    s|<briefdescription.*/>|<briefdescription visible="no"/><detaileddescription title="About"/>|
}
