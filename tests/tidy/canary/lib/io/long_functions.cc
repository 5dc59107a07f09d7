// Functions of 70 lines are fine, one more is not; tables and classes may be long.
namespace varve {

void fits() {
  use(0);
  use(1);
  use(2);
  use(3);
  use(4);
  use(5);
  use(6);
  use(7);
  use(8);
  use(9);
  use(10);
  use(11);
  use(12);
  use(13);
  use(14);
  use(15);
  use(16);
  use(17);
  use(18);
  use(19);
  use(20);
  use(21);
  use(22);
  use(23);
  use(24);
  use(25);
  use(26);
  use(27);
  use(28);
  use(29);
  use(30);
  use(31);
  use(32);
  use(33);
  use(34);
  use(35);
  use(36);
  use(37);
  use(38);
  use(39);
  use(40);
  use(41);
  use(42);
  use(43);
  use(44);
  use(45);
  use(46);
  use(47);
  use(48);
  use(49);
  use(50);
  use(51);
  use(52);
  use(53);
  use(54);
  use(55);
  use(56);
  use(57);
  use(58);
  use(59);
  use(60);
  use(61);
  use(62);
  use(63);
  use(64);
  use(65);
  use(66);
  use(67);
}

Member::Member(int a)
    : a_{a}, b_(a), c_{} {
  use(0);
  use(1);
  use(2);
  use(3);
  use(4);
  use(5);
  use(6);
  use(7);
  use(8);
  use(9);
  use(10);
  use(11);
  use(12);
  use(13);
  use(14);
  use(15);
  use(16);
  use(17);
  use(18);
  use(19);
  use(20);
  use(21);
  use(22);
  use(23);
  use(24);
  use(25);
  use(26);
  use(27);
  use(28);
  use(29);
  use(30);
  use(31);
  use(32);
  use(33);
  use(34);
  use(35);
  use(36);
  use(37);
  use(38);
  use(39);
  use(40);
  use(41);
  use(42);
  use(43);
  use(44);
  use(45);
  use(46);
  use(47);
  use(48);
  use(49);
  use(50);
  use(51);
  use(52);
  use(53);
  use(54);
  use(55);
  use(56);
  use(57);
  use(58);
  use(59);
  use(60);
  use(61);
  use(62);
  use(63);
  use(64);
  use(65);
  use(66);
  use(67);
}

bool operator==(int a, int b) {
  use(0);
  use(1);
  use(2);
  use(3);
  use(4);
  use(5);
  use(6);
  use(7);
  use(8);
  use(9);
  use(10);
  use(11);
  use(12);
  use(13);
  use(14);
  use(15);
  use(16);
  use(17);
  use(18);
  use(19);
  use(20);
  use(21);
  use(22);
  use(23);
  use(24);
  use(25);
  use(26);
  use(27);
  use(28);
  use(29);
  use(30);
  use(31);
  use(32);
  use(33);
  use(34);
  use(35);
  use(36);
  use(37);
  use(38);
  use(39);
  use(40);
  use(41);
  use(42);
  use(43);
  use(44);
  use(45);
  use(46);
  use(47);
  use(48);
  use(49);
  use(50);
  use(51);
  use(52);
  use(53);
  use(54);
  use(55);
  use(56);
  use(57);
  use(58);
  use(59);
  use(60);
  use(61);
  use(62);
  use(63);
  use(64);
  use(65);
  use(66);
  use(67);
  use(68);
}

constexpr int kTable[] = {
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    11,
    12,
    13,
    14,
    15,
    16,
    17,
    18,
    19,
    20,
    21,
    22,
    23,
    24,
    25,
    26,
    27,
    28,
    29,
    30,
    31,
    32,
    33,
    34,
    35,
    36,
    37,
    38,
    39,
    40,
    41,
    42,
    43,
    44,
    45,
    46,
    47,
    48,
    49,
    50,
    51,
    52,
    53,
    54,
    55,
    56,
    57,
    58,
    59,
    60,
    61,
    62,
    63,
    64,
    65,
    66,
    67,
    68,
    69,
    70,
    71,
    72,
    73,
    74,
    75,
    76,
    77,
    78,
    79,
};

class Wide {
 public:
  void method() const noexcept {
  use(0);
  use(1);
  use(2);
  use(3);
  use(4);
  use(5);
  use(6);
  use(7);
  use(8);
  use(9);
  use(10);
  use(11);
  use(12);
  use(13);
  use(14);
  use(15);
  use(16);
  use(17);
  use(18);
  use(19);
  use(20);
  use(21);
  use(22);
  use(23);
  use(24);
  use(25);
  use(26);
  use(27);
  use(28);
  use(29);
  use(30);
  use(31);
  use(32);
  use(33);
  use(34);
  use(35);
  use(36);
  use(37);
  use(38);
  use(39);
  use(40);
  use(41);
  use(42);
  use(43);
  use(44);
  use(45);
  use(46);
  use(47);
  use(48);
  use(49);
  use(50);
  use(51);
  use(52);
  use(53);
  use(54);
  use(55);
  use(56);
  use(57);
  use(58);
  use(59);
  use(60);
  use(61);
  use(62);
  use(63);
  use(64);
  use(65);
  use(66);
  use(67);
  use(68);
  }
  int field_0 = 0;
  int field_1 = 0;
  int field_2 = 0;
  int field_3 = 0;
  int field_4 = 0;
  int field_5 = 0;
  int field_6 = 0;
  int field_7 = 0;
  int field_8 = 0;
  int field_9 = 0;
  int field_10 = 0;
  int field_11 = 0;
  int field_12 = 0;
  int field_13 = 0;
  int field_14 = 0;
  int field_15 = 0;
  int field_16 = 0;
  int field_17 = 0;
  int field_18 = 0;
  int field_19 = 0;
  int field_20 = 0;
  int field_21 = 0;
  int field_22 = 0;
  int field_23 = 0;
  int field_24 = 0;
  int field_25 = 0;
  int field_26 = 0;
  int field_27 = 0;
  int field_28 = 0;
  int field_29 = 0;
  int field_30 = 0;
  int field_31 = 0;
  int field_32 = 0;
  int field_33 = 0;
  int field_34 = 0;
  int field_35 = 0;
  int field_36 = 0;
  int field_37 = 0;
  int field_38 = 0;
  int field_39 = 0;
  int field_40 = 0;
  int field_41 = 0;
  int field_42 = 0;
  int field_43 = 0;
  int field_44 = 0;
  int field_45 = 0;
  int field_46 = 0;
  int field_47 = 0;
  int field_48 = 0;
  int field_49 = 0;
  int field_50 = 0;
  int field_51 = 0;
  int field_52 = 0;
  int field_53 = 0;
  int field_54 = 0;
  int field_55 = 0;
  int field_56 = 0;
  int field_57 = 0;
  int field_58 = 0;
  int field_59 = 0;
  int field_60 = 0;
  int field_61 = 0;
  int field_62 = 0;
  int field_63 = 0;
  int field_64 = 0;
  int field_65 = 0;
  int field_66 = 0;
  int field_67 = 0;
  int field_68 = 0;
  int field_69 = 0;
  int field_70 = 0;
  int field_71 = 0;
  int field_72 = 0;
  int field_73 = 0;
  int field_74 = 0;
  int field_75 = 0;
  int field_76 = 0;
  int field_77 = 0;
  int field_78 = 0;
  int field_79 = 0;
};

TEST(Suite, Name) {
  auto lambda = [] { return 1; };
  use(0);
  use(1);
  use(2);
  use(3);
  use(4);
  use(5);
  use(6);
  use(7);
  use(8);
  use(9);
  use(10);
  use(11);
  use(12);
  use(13);
  use(14);
  use(15);
  use(16);
  use(17);
  use(18);
  use(19);
  use(20);
  use(21);
  use(22);
  use(23);
  use(24);
  use(25);
  use(26);
  use(27);
  use(28);
  use(29);
  use(30);
  use(31);
  use(32);
  use(33);
  use(34);
  use(35);
  use(36);
  use(37);
  use(38);
  use(39);
  use(40);
  use(41);
  use(42);
  use(43);
  use(44);
  use(45);
  use(46);
  use(47);
  use(48);
  use(49);
  use(50);
  use(51);
  use(52);
  use(53);
  use(54);
  use(55);
  use(56);
  use(57);
  use(58);
  use(59);
  use(60);
  use(61);
  use(62);
  use(63);
  use(64);
  use(65);
  use(66);
  use(67);
}

}  // namespace varve
