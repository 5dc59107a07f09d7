// clang-format would change this file.
int    spaces( int a )
{ return a ; }
