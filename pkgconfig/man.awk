# Manual pages out of the comments of the headers: balloon_<header>.3 for each, and libballoon.7
# out of docs/mainpage.md. Knows of C, Doxygen and Markdown just what is used there, and fails on
# a command that it does not know.
#
#   awk -v version=V -v date=D -v out=DIRECTORY -f man.awk docs/mainpage.md include/balloon/*.h
#
# With -v links=1 it prints <page>:<name> instead, for each function, object and type.

BEGIN { part = 1 }

FNR == 1 { file[++files] = FILENAME }
{
    # A macro of several lines is one.
    if (sub(/[ \t]*\\$/, " ")) held_back = held_back $0
    else { body[files] = body[files] held_back $0 "\n"; held_back = "" }
    if ($0 ~ /@(defgroup|addtogroup) /) group_page[word_after($0, "group")] = page_of(FILENAME)
}

function page_of(path) { sub(/.*\//, "", path); sub(/\.h$/, "", path); return "balloon_" path }

function word_after(text, word) {
    text = substr(text, index(text, word) + length(word)); sub(/^[ \t]+/, "", text)
    sub(/[ \t\n].*/, "", text); return text
}

function die(why) { print "man.awk: " why | "cat 1>&2"; failed = 1; exit 1 }

# A page comes in parts: what stands alone in a header before its named groups.
function put(line) { page_text[part] = page_text[part] line "\n" }

function put_parts() { printf "%s%s", page_text[1], page_text[2] > target; page_text[1] = page_text[2] = ""; part = 1 }

function begin(page, section) {
    target = links ? "/dev/null" : out "/man" section "/" page "." section
    put(".TH " page " " section " \"" date "\" \"libballoon " version "\" \"libballoon\"")
    put(".nh"); put(".ad l"); put(".SH NAME")
}

# ---- Text ------------------------------------------------------------------------------------------
# For roff: nothing in it is a command.
function plain(text) {
    gsub(/\\/, "\\e", text); gsub(/-/, "\\-", text); gsub(/'/, "\\(aq", text); gsub(/`/, "\\(ga", text)
    gsub(/\^/, "\\(ha", text); gsub(/~/, "\\(ti", text); if (text ~ /^\./) text = "\\&" text
    return text
}

# What @ref names: a page here, a name, or a page of the manual in HTML.
function reference(name) {
    if (name in group_page) return "\\fB" group_page[name] "\\fP(3)"
    if (name ~ /^(balloon|BALLOON)_/) return "\\fB" name "\\fP"
    return "\"" name "\" in the manual"
}

# Emphasis, code, links and references.
function inline(text,   done, tail, mark, word) {
    while (match(text, /\*\*[^*]+\*\*|`[^`]+`|\*[A-Za-z][A-Za-z ]*\*|\[[^]]+\]\([^)]+\)|@ref [A-Za-z_]+/)) {
        done = done plain(substr(text, 1, RSTART - 1)); word = substr(text, RSTART, RLENGTH)
        text = substr(text, RSTART + RLENGTH); mark = substr(word, 1, 2)
        if (mark == "**") done = done "\\fB" plain(substr(word, 3, length(word) - 4)) "\\fP"
        else if (mark == "@r") done = done reference(substr(word, 6))
        else if (mark ~ /^\[/) { sub(/\].*/, "", word); done = done plain(substr(word, 2)) }
        else if (mark ~ /^\*/) done = done "\\fI" plain(substr(word, 2, length(word) - 2)) "\\fP"
        else done = done "\\fB" plain(substr(word, 2, length(word) - 2)) "\\fP"
    }
    text = done plain(text)
    if (text ~ /^[.']/) text = "\\&" text
    return text
}

function flush() { gsub(/  +/, " ", paragraph); if (paragraph != "") put(inline(paragraph)); paragraph = "" }

# A row of a table: its first column is what the others are about.
function row(line,   cell, n, i, rest) {
    if (line ~ /^[| -]+$/) return
    n = split(line, cell, / *\| */)
    for (i = 3; i < n; i++) rest = rest (rest == "" ? "" : "; ") cell[i]
    put(".TP"); put("\\fI" inline(cell[2]) "\\fP"); put(inline(rest))
}

# text, paragraph by paragraph; "quiet" when no .PP stands before the first.
function render(text, quiet,   lines, n, i, line, gap, any, list, number, name, title) {
    n = split(text, lines, "\n"); gap = !quiet; list = ""
    for (i = 1; i <= n; i++) {
        line = lines[i]; sub(/^[ \t]+/, "", line)
        if (line == "") { flush(); gap = gap || any; continue }
        if (line ~ /^## /) { flush(); put(".SH " toupper(plain(substr(line, 4)))); gap = 0; list = ""; continue }
        if (line ~ /^# /) { gap = 0; continue }
        any = 1
        if (line ~ /^!\[/) continue
        if (line ~ /^\| You/) { i++; continue }
        if (line ~ /^\|/) { flush(); row(line); list = ""; gap = 1; continue }
        if (line ~ /^- /) {
            flush(); put(".IP \\(bu 2"); paragraph = substr(line, 3); list = "-"; gap = 0; continue
        }
        if (match(line, /^[0-9]+\. /) && (line + 0 == 1 ? gap || list == "1" : list == "1" && line + 0 == number + 1)) {
            number = line + 0; sub(/^[0-9]+\. /, "", line); flush(); put(".IP " number ". 4")
            paragraph = line; list = "1"; gap = 0; continue
        }
        if (line ~ /^@param/) {
            title = name = line; sub(/^@param/, "", title); sub(/ .*/, "", title); gsub(/[][]/, "", title)
            sub(/^[^ ]+ +/, "", name); sub(/^[^ ]+ +[^ ]+ */, "", line); sub(/ .*/, "", name)
            flush(); put(".TP"); put("\\fI" name "\\fP" (title ? " (" title ")" : "")); paragraph = line; gap = 0; list = "@"
            continue
        }
        if (line ~ /^@return /) {
            flush(); put(".TP"); put("returns"); paragraph = substr(line, 9); gap = 0; list = "@"; continue
        }
        if (line ~ /^@/ && line !~ /^@ref /) die("unknown command: " line)
        if (gap) { flush(); put(".PP"); gap = 0; list = "" }
        paragraph = paragraph (paragraph == "" ? "" : " ") line
    }
    flush()
}

# What a comment says, without its frame.
function said(comment) {
    sub(/^\/\*\*<?[ \t]*/, "", comment); sub(/[ \t]*\*\/$/, "", comment)
    gsub(/\n[ \t]*\*[ \t]?/, "\n", comment); gsub(/@[{}]/, "", comment)
    return comment
}

# ---- Headers ---------------------------------------------------------------------------------------
function skip_space() { sub(/^[ \t\n]+/, "", rest) }

function take_comment(   end, text) {
    end = index(rest, "*/") + 1; text = substr(rest, 1, end); rest = substr(rest, end + 1); return text
}

function squeeze(code) {
    gsub(/[ \t\n]+/, " ", code); gsub(/^ | $/, "", code)
    gsub(/BALLOON_(API|CHECKED) ?/, "", code); return code
}

# Code up to one of the characters ends, outside of parentheses, or to a comment.
function take_code(ends,   i, c, depth, text) {
    for (i = 1; i <= length(rest); i++) {
        c = substr(rest, i, 1)
        if (c == "(") depth++
        else if (c == ")") depth--
        else if (c == "/" && substr(rest, i + 1, 1) == "*") { i--; break }
        else if (depth == 0 && index(ends, c)) break
    }
    text = substr(rest, 1, i); rest = substr(rest, i + 1); return text
}

function put_heading(title) { put(".SH \"" toupper(plain(title)) "\"") }

function put_code(code) { put("\\fB" plain(squeeze(code)) "\\fP") }

function put_member(code, comment) {
    code = squeeze(code); sub(/,$/, "", code); if (code == "") return
    put(".TP"); put_code(code); if (comment != "") render(said(comment), 1)
}

# The members of a struct or enum: each with the comment before or behind it.
function members(is_enum,   code, before, depth) {
    while (1) {
        skip_space()
        if (substr(rest, 1, 4) == "/**<") { put_member(code, take_comment()); code = ""; continue }
        if (code != "") { put_member(code, before); code = before = "" }
        if (substr(rest, 1, 3) == "/**") { before = take_comment(); continue }
        if (substr(rest, 1, 2) == "/*") { take_comment(); continue }
        if (substr(rest, 1, 1) == "}" && depth == 0) return
        if (substr(rest, 1, 1) == "}") depth--
        code = take_code(is_enum ? ",}" : ";{")
        if (code ~ /[{]$/) depth++
        if (is_enum && code ~ /}$/) { rest = "}" rest; sub(/}$/, "", code) }
        if (squeeze(code) == "" && rest == "") die("a struct without an end")
    }
}

function declaration(comment,   code, name, head) {
    code = take_code(";{")
    if (code ~ /[{]$/) {
        head = squeeze(code); sub(/^typedef /, "", head); sub(/ [{]$/, "", head)
        put(".SS \"" head "\""); render(said(comment), 1); members(head ~ /^enum/)
        sub(/.* /, "", head); found[++names] = head; take_code(";"); return
    }
    name = squeeze(code); sub(/;$/, "", name); sub(/ ?\(.*/, "", name); sub(/.*[ *]/, "", name)
    found[++names] = name
    put(".SS " name); put_code(code); render(said(comment))
}

function macro(comment,   code, name) {
    code = take_code("\n"); name = word_after(code, "#define")
    if (name == "" || name ~ /_H$/ || name ~ /\(/) return
    sub(/[ \t\n]+$/, "", code); skip_space()
    if (substr(rest, 1, 4) == "/**<") comment = take_comment()
    put(".TP"); put_code(code); render(said(comment), 1)
}

function header(text,   page, comment, before, title, brief, more, i) {
    page = page_of(file[f]); names = 0
    rest = text; gsub(/BALLOON_(BEGIN|END)_DECLS/, "", rest)
    brief = said(substr(text, 1, index(text, "*/") + 1)); sub(/^@file[ \t\n]+@brief /, "", brief)
    more = index(brief, "\n\n") ? substr(brief, index(brief, "\n\n")) : ""
    sub(/\n\n.*/, "", brief); gsub(/[ \t\n]+/, " ", brief); sub(/\.? ?$/, "", brief)
    begin(page, 3)
    put(page " \\- " inline(brief)); about[page] = brief
    put(".SH SYNOPSIS"); put("\\fB#include <balloon/" substr(page, 9) ".h>\\fP")
    if (more != "") { put(".SH DESCRIPTION"); render(more, 1) }
    while (skip_space() rest != "") {
        if (substr(rest, 1, 3) == "/**") {
            comment = take_comment()
            if (comment ~ /@file|@addtogroup/) continue
            if (comment ~ /@defgroup/) {
                put_parts(); comment = said(comment); title = comment
                sub(/^@defgroup [^ ]+ /, "", title); sub(/\n.*/, "", title); put_heading(title)
                sub(/^[^\n]*\n/, "", comment); sub(/@brief /, "", comment); render(comment, 1)
            } else if (comment ~ /@name/) {
                part = 2; comment = said(comment); title = comment
                sub(/^@name /, "", title); sub(/\n.*/, "", title); put_heading(title)
                sub(/^[^\n]*\n?/, "", comment); render(comment, 1)
            } else if (comment ~ /@}/) part = 1
            else before = comment
            continue
        }
        if (substr(rest, 1, 2) == "/*") take_comment()
        else if (rest ~ /^#define/) { macro(before); before = "" }
        else if (rest ~ /^#/) sub(/^[^\n]*/, "", rest)
        else { declaration(before); before = "" }
    }
    put_parts(); see(text); put_parts()
    if (!links) close(target)
    else for (i = 1; i <= names; i++) if (found[i] != page) print page ":" found[i]
}

function see(text,   also) {
    put(".SH SEE ALSO"); also = "\\fBlibballoon\\fP(7)"
    while (match(text, /#include <balloon\/[a-z_]+\.h>/)) {
        title = page_of(substr(text, RSTART + 10, RLENGTH - 11)); text = substr(text, RSTART + RLENGTH)
        if (title != "balloon_export") also = also ", \\fB" title "\\fP(3)"
    }
    put(also)
}

END {
    if (failed) exit 1
    for (f = 1; f <= files; f++) if (file[f] ~ /\.h$/) header(body[f])
    if (links) exit 0
    begin("libballoon", 7)
    put("libballoon \\- memory ballooning for virtual machine monitors")
    put(".SH DESCRIPTION")
    for (f = 1; f <= files; f++) if (file[f] !~ /\.h$/) render(body[f], 1)
    put(".SH SEE ALSO")
    for (f = 1; f <= files; f++) if (file[f] ~ /\.h$/) {
        put(".TP"); put("\\fB" page_of(file[f]) "\\fP(3)"); put(inline(about[page_of(file[f])]))
    }
    put_parts()
}
