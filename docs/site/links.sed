# Links between pages are written as files need them, ../memory.md; the manual wants their names. A page
# is named after its file, and those of folders after these.
s#\]\(([a-z./]*/)?examples/README\.md\)#](@ref example_programs)#g
s#\]\((([a-z./]*/)?tutorials/)?README\.md\)#](@ref tutorials)#g
:dash
s#(\]\([a-z0-9_./]*)-([a-z0-9_./-]*\.md\))#\1_\2#
tdash
s#\]\(([a-z0-9_./]*/)?([a-z0-9_]+)\.md\)#](@ref \2)#g
# The source of an example.
s#\]\(([a-z./]*/)?examples/((host/)?[a-z0-9_]+\.[ch])\)#](@ref \2)#g
