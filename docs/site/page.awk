# A page as the manual wants it: awk -f page.awk docs/memory.md. Pages are written to be read as files,
# too, with links to files. Here these become links to pages, and those to sources of examples links to
# their pages; of other files the name is left. What a README.md links to in its own folder stands below
# it. A page without a name is named after its file, or if that is called README.md after its folder.

# The name of a page: what its first line says, "# Title {#name}", else that of its file.
function page_of(path, line)
{
    sub(/#.*/, "", path)
    if ((getline line <path) < 0)
        line = ""
    close(path)
    if (match(line, /\{#[a-z_]+\}/))
        return substr(line, RSTART + 2, RLENGTH - 3)
    sub(/(\/README)?\.md$/, "", path)
    sub(/.*\//, "", path)
    gsub(/-/, "_", path)
    return path
}

FNR == 1 {
    here = FILENAME
    sub(/\/[^\/]*$/, "", here)
}

FNR == 1 && /^# / && !/\{#/ { $0 = $0 " {#" page_of(FILENAME) "}" }
/^```/ { code = !code }

{
    done = ""
    line = $0
    while (!code && match(line, /\[[^\]]*\]\([^)@][^)]*\)/)) {
        image = RSTART > 1 && substr(line, RSTART - 1, 1) == "!"
        whole = substr(line, RSTART, RLENGTH)
        done = done substr(line, 1, RSTART - 1)
        line = substr(line, RSTART + RLENGTH)
        split(whole, part, /\]\(/)
        text = substr(part[1], 2)
        path = substr(part[2], 1, length(part[2]) - 1)
        if (path ~ /^[a-z]+:/)
            done = done whole
        else if (image) {
            sub(/.*\//, "", path)
            done = done "[" text "](" path ")"
        }
        else if (FILENAME ~ /README\.md$/ && path ~ /^[a-z-]+\.md$/)
            done = done "@subpage " page_of(here "/" path) " \"" text "\""
        else if (path ~ /\.md(#.*)?$/)
            done = done "[" text "](@ref " page_of(here "/" path) ")"
        else if (path ~ /examples\/.*\.[ch]$/) {
            sub(/.*examples\//, "", path)
            done = done "[" text "](@ref " path ")"
        } else
            done = done text
    }
    print done line
}
