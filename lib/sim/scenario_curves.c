/* Shapes of miss-ratio curves that the built-in scenarios use. */
#include "scenario_p.h"

/* (1 - x) to the power of 1.5, 2, 3, 4 and 6. */
static const balloon_curve_point gentle[] = {
    {0, 65536},     {4096, 59489},  {8192, 53640},  {12288, 47997}, {16384, 42567}, {20480, 37358},
    {24576, 32382}, {28672, 27648}, {32768, 23170}, {36864, 18965}, {40960, 15050}, {45056, 11449},
    {49152, 8192},  {53248, 5321},  {57344, 2896},  {61440, 1024},  {65536, 0}};
static const balloon_curve_point square[] = {
    {0, 65536},     {4096, 57600},  {8192, 50176},  {12288, 43264}, {16384, 36864}, {20480, 30976},
    {24576, 25600}, {28672, 20736}, {32768, 16384}, {36864, 12544}, {40960, 9216},  {45056, 6400},
    {49152, 4096},  {53248, 2304},  {57344, 1024},  {61440, 256},   {65536, 0}};
static const balloon_curve_point cube[] = {
    {0, 65536},     {4096, 54000},  {8192, 43904}, {12288, 35152}, {16384, 27648}, {20480, 21296},
    {24576, 16000}, {28672, 11664}, {32768, 8192}, {36864, 5488},  {40960, 3456},  {45056, 2000},
    {49152, 1024},  {53248, 432},   {57344, 128},  {61440, 16},    {65536, 0}};
static const balloon_curve_point steep[] = {
    {0, 65536},     {4096, 50625}, {8192, 38416}, {12288, 28561}, {16384, 20736}, {20480, 14641},
    {24576, 10000}, {28672, 6561}, {32768, 4096}, {36864, 2401},  {40960, 1296},  {45056, 625},
    {49152, 256},   {53248, 81},   {57344, 16},   {61440, 1},     {65536, 0}};
static const balloon_curve_point steepest[] = {
    {0, 65536},    {4096, 44495}, {8192, 29412}, {12288, 18855}, {16384, 11664}, {20480, 6920},
    {24576, 3906}, {28672, 2076}, {32768, 1024}, {36864, 460},   {40960, 182},   {45056, 61},
    {49152, 16},   {53248, 3},    {57344, 0},    {61440, 0},     {65536, 0}};

/* Cliffs: all of it is needed, or nearly nothing; half of it; and two in a row. */
static const balloon_curve_point loop[] = {{0, 65536}, {52428, 60000}, {53739, 1500}, {65536, 0}};
static const balloon_curve_point half_loop[] = {
    {0, 65536}, {28835, 45000}, {31457, 9000}, {65536, 0}};
static const balloon_curve_point two_loops[] = {{0, 65536},     {19660, 60000}, {20971, 30000},
                                                {45875, 28000}, {47186, 800},   {65536, 0}};

/* Measured: exact LRU stack distances of one run each of a C compiler, git log, PostgreSQL, a
 * Python script that sums up a table, and SQLite, from a 16th of the pages that were touched on. */
static const balloon_curve_point compiler[] = {
    {4665, 65536},  {5548, 47515}, {6597, 32320}, {7844, 23562}, {9328, 17606}, {11095, 13656},
    {13194, 10379}, {15690, 7509}, {18659, 5444}, {22182, 4304}, {26388, 3278}, {31376, 2736},
    {37314, 2210},  {44385, 1709}, {52775, 1050}, {62753, 115},  {65536, 0}};
static const balloon_curve_point history[] = {
    {4129, 65536},  {4908, 49702}, {5838, 37998}, {6942, 27198}, {8254, 19785}, {9815, 14401},
    {11672, 10179}, {13885, 7657}, {16514, 5715}, {19638, 3881}, {23352, 2816}, {27769, 2070},
    {33020, 1394},  {39268, 878},  {46705, 396},  {55539, 119},  {65536, 0}};
static const balloon_curve_point database[] = {
    {3968, 65536},  {4719, 57821},  {5611, 51863},  {6672, 46729},  {7934, 41952},  {9438, 36982},
    {11225, 32342}, {13349, 28004}, {15874, 23993}, {18876, 20462}, {22445, 17187}, {26692, 13321},
    {31748, 8909},  {37753, 4936},  {44896, 2002},  {53390, 569},   {63471, 13},    {65536, 0}};
static const balloon_curve_point table[] = {
    {4544, 65536},  {5403, 63380},  {6425, 60954},  {7639, 56126},  {9084, 53902},  {10807, 51454},
    {12853, 48579}, {15285, 47591}, {18176, 46850}, {21613, 46333}, {25700, 44963}, {30563, 39685},
    {36351, 28029}, {43227, 20305}, {51406, 12954}, {61132, 2041},  {65536, 0}};
static const balloon_curve_point queries[] = {
    {4543, 65536},  {5402, 61826},  {6423, 58611},  {7638, 55471},  {9086, 51860},  {10807, 47062},
    {12852, 41745}, {15282, 36008}, {18173, 29207}, {21609, 20863}, {25698, 12365}, {30565, 8114},
    {36346, 5960},  {43223, 4456},  {51401, 1166},  {61106, 299},   {65536, 0}};

/* A stream: no reuse, so no size but all of it helps. */
static const balloon_curve_point stream[] = {{0, 65536}, {65535, 65536}, {65536, 0}};

/* A program that goes through 250 MiB again and again, beside 85 that stay. Where pages go by
 * chance, of those that are missing, m, it misses so many that 1 - m = exp(-m / share of them that
 * fits). */
static const balloon_curve_point round_and_round[] = {
    {0, 65536},     {16627, 65536}, {26409, 65077}, {36191, 58524}, {41082, 52232}, {45973, 44302},
    {50864, 34931}, {55754, 24314}, {60645, 12648}, {63091, 6423},  {65536, 0}};

#define SHAPE(points) points, sizeof(points) / sizeof(*(points))
const balloon_curve bl_scenario_curves[BL_CURVES] = {
    {SHAPE(gentle)},   {SHAPE(square)},  {SHAPE(cube)},           {SHAPE(steep)},
    {SHAPE(steepest)}, {SHAPE(loop)},    {SHAPE(half_loop)},      {SHAPE(two_loops)},
    {SHAPE(compiler)}, {SHAPE(history)}, {SHAPE(database)},       {SHAPE(table)},
    {SHAPE(queries)},  {SHAPE(stream)},  {SHAPE(round_and_round)}};
