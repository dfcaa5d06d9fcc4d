# From the sources of examples to their pages in the manual: each source's first comment becomes the
# text of its page, or that of the header of the same name where it has none.
#
#     awk -v folder=docs/examples -f examples.awk docs/examples/*.c

# The first comment of a file, without its marks; "" when the file does not begin with one.
function about(file, line, text, open, last)
{
    text = ""
    open = 0
    while ((getline line <file) > 0) {
        if (!open && line !~ /^\/\*/)
            break
        open = 1
        last = sub(/[ ]*\*\/[ ]*$/, "", line)
        sub(/^[ \/]\*+ ?/, "", line)
        # Words of C are no commands of the manual; in what is indented they are none anyhow.
        if (line !~ /^    /)
            gsub(/[@\\<>#]/, "\\\\&", line)
        if (!last || line != "")
            text = text line "\n"
        if (last)
            break
    }
    close(file)
    return text
}

BEGIN {
    for (i = 1; i < ARGC; i++) {
        file = ARGV[i]
        header = file
        sub(/\.c$/, ".h", header)
        text = about(file)
        if (text == "")
            text = about(header)
        name = substr(file, length(folder) + 2)
        printf "/*! @example %s\n%s*/\n\n", name, text
    }
    exit
}
